//go:build linux && (amd64 || arm64)

package fault

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// areas counts the memory areas of an arena.
func areas(e *engine) int {
	f, err := os.Open("/proc/self/maps")
	must(err)
	defer f.Close()
	base, n := uint64(e.region.Base()), 0
	for s := bufio.NewScanner(f); s.Scan(); {
		var lo, hi uint64
		if _, err := fmt.Sscanf(s.Text(), "%x-%x", &lo, &hi); err == nil && lo >= base && lo < base+uint64(len(e.mem)) {
			n++
		}
	}
	return n
}

// areaLimit returns the kernel's limit of memory areas.
func areaLimit() int {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	must(err)
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must(err)
	return n
}

// TestAreasMerge: dirtying scattered pages splits the arena's memory areas,
// re-arming joins them again, checkpoint after checkpoint; a moving guard does
// not leave any behind.
func TestAreasMerge(t *testing.T) {
	for _, w := range []way{{Mprotect, false}, {Mprotect, true}} {
		t.Run(w.String(), func(t *testing.T) {
			e := newEngine(t, w, 4000, imagePages, false)
			quiet := areas(e)
			for range 3 {
				var want []int
				for p := 1; p < 4000; p += 2 {
					want = append(want, p)
				}
				e.store(want...)
				if n := areas(e); n < 2000 {
					t.Fatalf("%d areas with 2000 scattered pages: nothing is tracked", n)
				}
				mustBe(t, "scattered", e.checkpoint(4000), want...)
				if n := areas(e); n > quiet {
					t.Fatalf("%d areas after re-arming, %d before", n, quiet)
				}
			}
		})
	}
	t.Run("guard", func(t *testing.T) {
		e := newWarded(t, way{kind: Mprotect}, 100*PageSize, 300*PageSize)
		quiet := areas(e)
		for i := range 1000 {
			e.mark(100*PageSize, (250+50*(i%2))*PageSize)
			e.store(e.GuardPage())
		}
		if moves := e.Stats().GuardMoves; moves != 1000 {
			t.Fatalf("%d moves", moves)
		}
		e.checkpoint(arenaPages)
		if n := areas(e); n > quiet {
			t.Fatalf("%d areas after 1000 moves, %d before", n, quiet)
		}
		e.mark(arenaPages*PageSize, arenaPages*PageSize)
	})
}

// useUpAreas dirties more scattered pages than the kernel has memory areas
// for: the handler opens everything, and no dirty page is lost, whether it was
// stored to before or after, below the limit of Collect or above it.
func useUpAreas(w way) {
	limit := areaLimit()
	pages := 2*(limit/2) + 4000
	if pages > 1<<18 {
		fmt.Printf("not run: %d memory areas allowed\n", limit)
		ok()
		return
	}
	e := child(w, pages, true)
	if noPagemap {
		m := e.tracker.(*mprotect)
		m.private.close()
		m.private = nil
	}
	must(e.SetWatermarks(0, pages*PageSize))
	must(e.Ward())
	var want []int
	for p := 1; p < pages; p += 2 {
		if p != e.GuardPage() {
			want = append(want, p)
			e.store(p)
		}
	}
	if s := e.Stats(); s.Overflows != 1 {
		must(fmt.Errorf("%d overflows", s.Overflows))
	}
	if !e.closed(e.GuardPage()) {
		must(errors.New("the guard page was opened"))
	}
	if top, err := e.Highest(); err != nil || top != want[len(want)-1]+1 {
		must(fmt.Errorf("highest %d, %v", top, err))
	}
	half := pages / 3
	below, _ := slices.BinarySearch(want, half)
	mustBe(e.t, "below the limit", e.checkpoint(half), want[:below]...)
	if n := areas(e); n > 5 {
		must(fmt.Errorf("%d areas after re-arming", n))
	}
	// Tracked again; what was above the limit is still found.
	e.store(2)
	rest := append([]int{2}, want[below:]...)
	mustBe(e.t, "all", e.checkpoint(pages), rest...)
	mustBe(e.t, "quiet", e.checkpoint(pages))
	if s := e.Stats(); s.Overflows != 1 {
		must(fmt.Errorf("%d overflows in the end", s.Overflows))
	}
	ok()
}

// noPagemap makes useUpAreas work without page tables.
var noPagemap bool

// elsewhere are the pages that make areas of their own in useUpElsewhere.
var elsewhere = []int{102, 104, 106, 108, 110, 112, 114, 116, 118, 120, 122, 124, 126, 128, 130, 132, 134, 136, 138, 140}

// useUpElsewhere takes all memory areas that are left for somebody else.
//
// The Go runtime needs one now and then, and dies without: so the heap is kept
// from growing, and the arena has areas to set free when it is opened, more
// than it then needs for itself.
func useUpElsewhere(e *engine) *mapping.Region {
	for _, p := range elsewhere {
		if e.Kind() == Mprotect {
			e.store(p)
		} else {
			must(e.region.Protect(p*PageSize, PageSize, mapping.Read))
		}
	}
	return useUpTheRest()
}

func useUpTheRest() *mapping.Region {
	debug.SetGCPercent(-1)
	_ = make([]byte, 8<<20)
	n := areaLimit()
	r, err := mapping.Reserve(n*mapping.SystemPage(), mapping.SystemPage())
	must(err)
	for i := 0; ; i += 2 {
		if err := r.Protect(i*mapping.SystemPage(), mapping.SystemPage(), mapping.Read); err != nil {
			return r
		}
		if i+2 >= n {
			must(errors.New("the limit was not reached"))
		}
	}
}

// touchAtTheLimit: Touch finds no memory area left, and opens everything.
func touchAtTheLimit() {
	e := child(way{kind: Mprotect}, arenaPages, false)
	r := useUpElsewhere(e)
	must(e.Touch(150*PageSize, PageSize))
	if e.Stats().Overflows != 1 {
		must(errors.New("no overflow"))
	}
	_, err := e.image.ReadAt(e.bytes(150), 0)
	must(err)
	e.store(20, 250)
	must(r.Release())
	mustBe(e.t, "dirty", e.checkpoint(arenaPages), append([]int{20}, append(elsewhere, 150, 250)...)...)
	e.store(21)
	mustBe(e.t, "tracked again", e.checkpoint(arenaPages), 21)
	ok()
}

// guardAtTheLimit: the guard's hit finds no memory area for the new page. The
// arena is opened, which sets areas free, and the guard gets its place.
func guardAtTheLimit() {
	for _, kind := range []Kind{Mprotect, Cow} {
		e := child(way{kind: kind}, arenaPages, true)
		must(e.SetWatermarks(100*PageSize, 300*PageSize))
		must(e.Ward())
		r := useUpElsewhere(e)
		must(e.SetWatermarks(203*PageSize, 300*PageSize))
		if err := e.try(func() { e.store(200) }); err != nil {
			must(err)
		}
		if g := e.GuardPage(); g != 251 {
			must(fmt.Errorf("guard at %d", g))
		}
		if !errors.Is(e.try(func() { e.store(251) }), guard.ErrExhausted) {
			must(errors.New("guard page open"))
		}
		must(r.Release())
		want := []int{200}
		if kind == Mprotect {
			want = append(slices.Clone(elsewhere), 200)
		}
		mustBe(e.t, "dirty", e.checkpoint(arenaPages), want...)
		e.store(3)
		mustBe(e.t, "tracked again", e.checkpoint(arenaPages), 3)
		must(e.Arena.Close())
	}
	ok()
}

// neighboursAtTheLimit: without a memory area left the handler opens what is
// the arena's but the guard page, and touches nothing in front of it or behind.
func neighboursAtTheLimit() {
	const pages, at = 64, 30
	for _, g := range []int64{guard.None, at} {
		r, err := mapping.Reserve(pages*PageSize, PageSize)
		must(err)
		must(r.MapAnon(0, pages*PageSize, mapping.ReadWrite))
		bits, err := newBitmap(pages)
		must(err)
		s, err := claimSlot()
		must(err)
		s.guard.Store(g)
		s.bits, s.summary = bits.addresses()
		publish(s, r.Base()+PageSize, (pages-2)*PageSize)
		must(r.Protect(PageSize, (pages-1)*PageSize, mapping.Read))
		if g == at {
			must(r.Protect((1+at)*PageSize, PageSize, mapping.None))
		}
		store := func(p int) { poke(&r.Bytes()[p*PageSize], 1) }
		refused := func(p int) {
			err := mapping.Guarded(r.Bytes(), func() error { store(p); return nil })
			if fe, ok := errors.AsType[*mapping.FaultError](err); !ok || fe.Offset != p*PageSize {
				must(fmt.Errorf("page %d with guard %d: %v", p, g, err))
			}
		}
		var want []int
		for p := 2; p < 44; p += 2 {
			store(p)
			want = append(want, p-1)
		}
		rest := useUpTheRest()
		store(50)
		store(52) // open as well
		must(rest.Release())
		if s.overflow.Load() != 1 || s.overflows.Load() != 1 {
			must(errors.New("no overflow"))
		}
		mustBe(dying{}, "marked", bits.take(nil, pages, guard.None), append(want, 49)...)
		store(0)
		refused(pages - 1)
		if g == at {
			refused(1 + at) // the watermarks leave no room
		}
		releaseSlot(s)
	}
	ok()
}

// noProtection: if not even the whole arena can be opened the fault is Go's.
func noProtection() {
	e := child(way{kind: Mprotect}, arenaPages, false)
	if err := refuse(unix.SYS_MPROTECT, 0, unix.ENOMEM); err != nil {
		fmt.Println("not run here:", err)
		ok()
		return
	}
	err := mapping.Guarded(e.mem, func() error { e.bytes(5)[77] = 1; return nil })
	if fe, ok := errors.AsType[*mapping.FaultError](err); !ok || fe.Offset != 5*PageSize+77 {
		must(err)
	}
	ok()
}
