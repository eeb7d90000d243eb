//go:build linux && (amd64 || arm64)

package fault

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"loomstore/internal/mapping"
)

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

// TestUffdZeros: pages of zeros above the image that were only read are looked
// at by nobody. Where something was, or may have been, they are compared.
func TestUffdZeros(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	w := e.tracker.(*uffd).written
	e.store(150)
	mustBe(t, "stored", e.checkpoint(arenaPages), 150)
	e.store(151)
	for p := range arenaPages {
		for at := 0; at < PageSize; at += 4096 {
			peek(&e.bytes(p)[at])
		}
	}
	err := w.take(arenaPages, imagePages, func(lo, hi int, zero bool) {
		if zero || lo != 151 || hi != 152 {
			t.Errorf("visited pages [%d, %d), zeros: %v", lo, hi, zero)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Mark([]int{151})
	mustBe(t, "marked", e.checkpoint(arenaPages), 151)

	loses := func(what string, p int) {
		t.Helper()
		e.advise(p, mapping.DontNeed)
		for at := 0; at < PageSize; at += 4096 {
			peek(&e.bytes(p)[at])
		}
		mustBe(t, what, e.checkpoint(arenaPages), p)
	}
	loses("reads as zero, and was stored to", 150)

	content := bytes.Clone(e.bytes(60))
	if err := e.region.MapAnon(60*PageSize, PageSize, mapping.ReadWrite); err != nil {
		t.Fatal(err)
	}
	copy(e.bytes(60), content)
	if err := errors.Join(e.SetMapped(60), e.Forget(60, imagePages)); err != nil {
		t.Fatal(err)
	}
	mustBe(t, "no longer of the file", e.collect(arenaPages))
	loses("reads as zero, and is of the image", 60)

	// Armed by a scan that failed, found by comparing.
	e.store(152)
	if err := w.scanner.scan(w.arm, 152*parts(), 153*parts(), func(int, int, uint64) {}); err != nil {
		t.Fatal(err)
	}
	broken, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	m := pagemapOf(e)
	good := m.file
	m.file, m.scanner.file = broken, broken
	mustBe(t, "compared", e.checkpoint(arenaPages), 152)
	m.file, m.scanner.file = good, good
	loses("reads as zero, and was never reported", 152)
}
