//go:build linux && (amd64 || arm64)

package fault

import (
	"errors"
	"sync"
	"testing"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// readOnly returns a region that refuses stores from end to end.
func readOnly(t *testing.T, pages int) *mapping.Region {
	t.Helper()
	r, err := mapping.Reserve(pages*PageSize, PageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Release() })
	if err := r.MapAnon(0, pages*PageSize, mapping.Read); err != nil {
		t.Fatal(err)
	}
	return r
}

// handled lets the handler see a part of a region, which ends with the test.
func handled(t *testing.T) (*slot, *bitmap) {
	t.Helper()
	bits, err := newBitmap(64)
	if err != nil {
		t.Fatal(err)
	}
	s, err := claimSlot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		releaseSlot(s)
		_ = bits.close()
	})
	s.guard.Store(guard.None)
	s.bits, s.summary = bits.addresses()
	return s, bits
}

// TestEdgesOfAnArena: the first and the last byte belong to it, those beside
// them to whoever is there.
func TestEdgesOfAnArena(t *testing.T) {
	r := readOnly(t, 4)
	s, bits := handled(t)
	publish(s, r.Base()+PageSize, 2*PageSize)
	for _, test := range []struct {
		off  int
		page int // of the arena, or -1
	}{
		{PageSize - 1, -1}, {3 * PageSize, -1},
		{PageSize, 0}, {3*PageSize - 1, 1},
	} {
		err := mapping.Guarded(r.Bytes(), func() error {
			poke(&r.Bytes()[test.off], 1)
			return nil
		})
		fe, refused := errors.AsType[*mapping.FaultError](err)
		if refused != (test.page < 0) || refused && fe.Offset != test.off {
			t.Errorf("store at %d: %v", test.off, err)
		}
		if got := bits.take(nil, 64, guard.None); test.page < 0 && len(got) > 0 || test.page >= 0 && (len(got) != 1 || got[0] != test.page) {
			t.Errorf("store at %d marks %v", test.off, got)
		}
	}
	if n := s.faults.Load(); n != 2 {
		t.Errorf("%d faults counted", n)
	}
}

// TestSlotChangesHands: while arenas come and go in an earlier line of the
// table, above and below another one, the handler never takes that one's
// addresses for theirs: it would open pages and mark none.
func TestSlotChangesHands(t *testing.T) {
	const pages = 16
	r := readOnly(t, 3*pages)
	coming, _ := handled(t)
	coming.bits = 0 // marks nothing
	staying, bits := handled(t)
	publish(staying, r.Base()+pages*PageSize, pages*PageSize)
	var done sync.WaitGroup
	defer done.Wait()
	stop := make(chan struct{})
	defer close(stop)
	done.Go(func() {
		for {
			for _, at := range []uintptr{0, 2 * pages * PageSize} {
				publish(coming, r.Base()+at, pages*PageSize)
				coming.end.Store(0)
				coming.base.Store(0)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for round := range rounds(3000) {
		for p := range pages {
			poke(&r.Bytes()[(pages+p)*PageSize], 1)
		}
		if got := bits.take(nil, 64, guard.None); len(got) != pages {
			t.Fatalf("round %d: %d pages stored to, marked are %v", round, pages, got)
		}
		if err := r.Protect(pages*PageSize, pages*PageSize, mapping.Read); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlotIsLeftEmpty: the next arena to get the line of the table may have no
// bitmap, and has its own counts.
func TestSlotIsLeftEmpty(t *testing.T) {
	e, err := buildEngine(t.TempDir(), way{kind: Mprotect}, arenaPages, imagePages, true)
	if err != nil {
		t.Fatal(err)
	}
	e.t = t
	e.mark(100*PageSize, 200*PageSize)
	if err := e.Ward(); err != nil {
		t.Fatal(err)
	}
	e.store(5)
	s := e.slot
	s.overflow.Store(1)
	s.overflows.Store(1)
	s.moves.Store(1)
	e.close()
	if s.end.Load() != 0 || s.base.Load() != 0 || s.bits != 0 || s.summary != 0 || s.guard.Load() != 0 || s.low.Load() != 0 || s.high.Load() != 0 ||
		s.overflow.Load() != 0 || s.faults.Load() != 0 || s.overflows.Load() != 0 || s.moves.Load() != 0 {
		t.Fatalf("after Close: %v", s)
	}
}
