//go:build linux && (amd64 || arm64)

package fault

import "testing"

// TestUffdAsksAboutTheUnknown: parts of which it is known that they are
// private lie beside parts that were only read, in one run and apart.
func TestUffdAsksAboutTheUnknown(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	// Not the fixture's collect, which reads every page.
	collect := func(what string, want ...int) {
		t.Helper()
		got, err := e.Collect(nil, arenaPages)
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, what, got, want...)
	}
	last, first := &e.bytes(5)[PageSize-1], &e.bytes(6)[0]
	*last++
	collect("stored for the first time", 5)
	*last++
	peek(first)
	collect("stored again beside a part that was read", 5)
	*first++
	collect("the one that was read", 6)
	*last++
	*first++
	collect("both", 5, 6)
	peek(&e.bytes(7)[0])
	e.bytes(8)[PageSize-1]++ // near enough to be asked about in one call
	peek(&e.bytes(9)[0])
	collect("one of three", 8)
	peek(&e.bytes(99)[PageSize-1])
	e.bytes(100)[0]++
	collect("across the end of the image", 100)
	e.Mark([]int{5, 6, 8, 100}) // for the fixture's own check
}

// TestUffdHint: few parts are asked for one by one, what lies behind a few all
// at once. Either way all are found.
func TestUffdHint(t *testing.T) {
	const pages, most = 8 * hintEvery, 8
	e := newEngine(t, way{kind: Uffd}, pages, pages/4, false)
	e.store(span(0, pages)...)
	e.checkpoint(pages)
	e.checkpoint(pages)
	for n := range 12 {
		var want []int
		for i := range n {
			want = append(want, 5+i*80)
		}
		e.store(want...)
		few, err := e.tracker.(*uffd).written.hint(pages * parts())
		if err != nil {
			t.Fatal(err)
		}
		switch all := n > 0 && few[len(few)-1].hi == pages*parts(); {
		case n < most && (all || len(few) != n):
			t.Fatalf("%d pages stored to: hint %v", n, few)
		case n > most && (!all || len(few) != most+1):
			t.Fatalf("%d pages stored to: hint %v", n, few)
		}
		mustBe(t, "stored", e.checkpoint(pages), want...)
	}
}
