//go:build linux

package fault

import (
	"os"
	"testing"

	"pgregory.net/rapid"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// TestAnySequence does random things to an arena and after each Collect proves
// that no page was missed. Trackers that see stores must also report nothing
// that was neither stored to nor marked.
func TestAnySequence(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		newEngine(t, w, 4, 0, true) // skips where there is no such tracker
		for range max(1, rounds(1)) {
			rapid.Check(t, func(rt *rapid.T) { anySequence(t, rt, w) })
		}
	})
}

func anySequence(t *testing.T, rt *rapid.T, w way) {
	const pages, image = 160, 70
	dir, err := os.MkdirTemp(t.TempDir(), "any")
	if err != nil {
		rt.Fatal(err)
	}
	e, err := buildEngine(dir, w, pages, image, true)
	if err != nil {
		rt.Fatal(err)
	}
	e.t = t
	defer e.close()
	defer func() {
		if rt.Failed() {
			return
		}
		if err := e.SetWatermarks(pages*PageSize, pages*PageSize); err != nil {
			rt.Fatal(err)
		}
		e.mustMatch(pages)
	}()

	page := rapid.IntRange(0, pages-1)
	touched := map[int]bool{} // may be reported
	// A well-behaved program stores to the guard page only where it has
	// announced so, and stops when there is no room.
	storable := func(p int) bool {
		low, high := e.Watermarks()
		_, room := guard.Next(low, high, p)
		return p != e.GuardPage() || room && !guard.Free(low, high, p)
	}
	collect := func(limit int) []int {
		dirty := e.collect(limit)
		for _, p := range dirty {
			if !touched[p] {
				rt.Fatalf("page %d reported and never touched", p)
			}
			if w.kind == Mprotect || w.kind == Uffd {
				delete(touched, p)
			}
		}
		return dirty
	}
	rt.Repeat(map[string]func(*rapid.T){
		"store": func(rt *rapid.T) {
			for _, p := range rapid.SliceOfN(page, 1, 20).Draw(rt, "pages") {
				if storable(p) {
					e.store(p)
					touched[p] = true
				}
			}
		},
		"checkpoint": func(rt *rapid.T) {
			limit := rapid.IntRange(e.pages, pages).Draw(rt, "limit")
			e.commit(collect(limit), limit)
			if rapid.Bool().Draw(rt, "applied") {
				e.apply()
			}
		},
		"failed checkpoint": func(rt *rapid.T) {
			dirty := collect(page.Draw(rt, "limit"))
			e.Mark(dirty)
			for _, p := range dirty {
				touched[p] = true
			}
		},
		"mark": func(rt *rapid.T) {
			p := page.Draw(rt, "page")
			e.Mark([]int{p})
			touched[p] = true
		},
		"touch": func(rt *rapid.T) {
			p := page.Draw(rt, "page")
			if storable(p) {
				if err := e.Touch(p*PageSize+1, 5); err != nil {
					rt.Fatal(err)
				}
				touched[p] = true
			}
		},
		"watermarks": func(rt *rapid.T) {
			low := rapid.IntRange(0, pages*PageSize).Draw(rt, "low")
			high := rapid.IntRange(low, pages*PageSize).Draw(rt, "high")
			if err := e.SetWatermarks(low, high); err != nil {
				rt.Fatal(err)
			}
		},
		"ward": func(*rapid.T) {
			_ = e.Ward() // no room is no failure here
		},
		"unprotect": func(rt *rapid.T) {
			if err := e.Unprotect(); err != nil {
				rt.Fatal(err)
			}
		},
		"overflow": func(rt *rapid.T) {
			e.slot.overflow.Store(1)
			if err := e.protect(0, pages, mapping.ReadWrite); err != nil {
				rt.Fatal(err)
			}
		},
		"roll back": func(rt *rapid.T) {
			dirty := collect(pages)
			for _, p := range dirty {
				if err := e.region.Protect(p*PageSize, PageSize, mapping.ReadWrite); err != nil {
					rt.Fatal(err)
				}
				clear(e.bytes(p))
				copy(e.bytes(p), e.committed[p])
				if err := e.Forget(p, p+1); err != nil {
					rt.Fatal(err)
				}
				delete(touched, p)
			}
		},
		"": func(rt *rapid.T) {
			g := e.GuardPage()
			if g != guard.None && (g < 0 || g >= pages) {
				rt.Fatalf("guard page %d", g)
			}
			touched[g] = true // it is dirty when it is the guard no more
		},
	})
}
