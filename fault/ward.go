package fault

import (
	"errors"
	"fmt"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// SetWatermarks tells where live bytes end: [0, low) and [high, length) are
// live. Call it before the stores that it announces: the handler takes a store
// into the middle of the free space for exhaustion if the watermarks have not
// moved. It costs two atomic stores. Calls must not overlap each other.
func (a *Arena) SetWatermarks(low, high int) error {
	if err := guard.Check(low, high, a.region.Len()); err != nil {
		return fmt.Errorf("set watermarks: %w", err)
	}
	// A fault between the two stores sees one of them: the order is such
	// that low is never above high.
	if int64(high) > a.slot.high.Load() {
		a.slot.high.Store(int64(high))
		a.slot.low.Store(int64(low))
	} else {
		a.slot.low.Store(int64(low))
		a.slot.high.Store(int64(high))
	}
	return nil
}

// Watermarks returns what SetWatermarks set; before that, 0 and the length.
func (a *Arena) Watermarks() (low, high int) {
	return int(a.slot.low.Load()), int(a.slot.high.Load())
}

// Ward puts the guard page into the middle of the free space now. Without two
// free pages the guard stays where it is and the error wraps
// guard.ErrExhausted. An arena opened without Guard has nothing to do.
func (a *Arena) Ward() error {
	if !a.guarded {
		return nil
	}
	a.ward.Lock()
	defer a.ward.Unlock()
	a.warded = true
	for {
		old := a.slot.guardPage()
		to, ok := guard.Middle(a.Watermarks())
		if !ok {
			low, high := a.Watermarks()
			return fmt.Errorf("ward between %d and %d: %w", low, high, guard.ErrExhausted)
		}
		if moved, err := a.moveGuard(old, to); moved || err != nil {
			return err
		}
	}
}

// moveGuard is the handler's way to move the guard, in the same order: claim
// the word, close the new page, then open the old one. It reports false if the
// handler came first.
func (a *Arena) moveGuard(old, to int) (bool, error) {
	if old == to {
		return true, nil
	}
	if !a.slot.guard.CompareAndSwap(int64(old), int64(to)) {
		return false, nil
	}
	if to != guard.None {
		if err := a.region.Protect(to*PageSize, PageSize, mapping.None); err != nil {
			err = fmt.Errorf("close guard page %d: %w", to, err)
			if a.slot.guard.CompareAndSwap(int64(to), int64(old)) && old != guard.None {
				// Whoever hit it meanwhile has opened it as any other.
				err = errors.Join(err, a.restoreGuard(old, old+1))
			}
			return false, err
		}
	}
	if old == guard.None {
		return true, nil
	}
	a.tracker.mark(old, old+1)
	if err := a.region.Protect(old*PageSize, PageSize, mapping.ReadWrite); err != nil {
		return false, fmt.Errorf("open former guard page %d: %w", old, err)
	}
	return true, a.restoreGuard(old, old+1)
}

// restoreGuard closes the guard page again if it lies in [lo, hi), whose
// protection was just changed: the handler may have moved it there meanwhile.
func (a *Arena) restoreGuard(lo, hi int) error {
	g := a.slot.guardPage()
	if g < lo || g >= hi {
		return nil
	}
	if err := a.region.Protect(g*PageSize, PageSize, mapping.None); err != nil {
		return fmt.Errorf("close guard page %d: %w", g, err)
	}
	return nil
}

// GuardPage returns the number of the guard page, or guard.None.
func (a *Arena) GuardPage() int { return a.slot.guardPage() }

// Exhausted tells whether a fault at the byte offset off, as
// mapping.FaultOffset returns it, means that the free space is used up: the
// guard page was hit and had nowhere to go.
func (a *Arena) Exhausted(off int) bool { return off >= 0 && off/PageSize == a.slot.guardPage() }

// settleGuard puts guard and protections right at a stop: the guard is not on
// live bytes, and no page but the guard is closed.
func (a *Arena) settleGuard() error {
	if !a.warded {
		return nil
	}
	low, high := a.Watermarks()
	if g := a.slot.guardPage(); g == guard.None || !guard.Free(low, high, g) {
		// No room is not this call's error: the guard is off until there is.
		to, _ := guard.Middle(low, high)
		if _, err := a.moveGuard(g, to); err != nil {
			return err
		}
	}
	// A thread that lost a race may have left a page closed that is no longer
	// the guard. A store would open it, a system call would fail. Where the
	// tracker protects pages its own re-arming settles that.
	if moves := a.slot.moves.Load(); moves != a.moves && a.kind != Mprotect {
		if err := a.protect(0, a.pages, mapping.ReadWrite); err != nil {
			return err
		}
		a.moves = moves
	}
	return nil
}

// evadeGuard moves the guard page out of [lo, hi) the way an access by the
// program would, through the handler, and opens all pages there: a thread that
// moves the guard may have left one closed, or not have opened it yet. Where
// the tracker protects pages its touch does that.
func (a *Arena) evadeGuard(lo, hi int) error {
	for g := a.slot.guardPage(); g >= lo && g < hi; g = a.slot.guardPage() {
		// The thread that moved it here may not have closed it yet.
		if err := a.restoreGuard(g, g+1); err != nil {
			return err
		}
		err := mapping.Guarded(a.page(g), func() error {
			peek(&a.page(g)[0])
			return nil
		})
		if errors.Is(err, mapping.ErrFault) {
			return fmt.Errorf("guard page %d: %w", g, guard.ErrExhausted)
		}
	}
	if !a.guarded || a.kind == Mprotect {
		return nil
	}
	if err := a.protect(lo, hi, mapping.ReadWrite); err != nil {
		return err
	}
	return a.restoreGuard(lo, hi)
}

// peek loads a byte; inlined, the load of an unused value would be removed.
//
//go:noinline
func peek(p *byte) byte { return *p }

// poke stores a byte; inlined, a store of what is there would be removed.
//
//go:noinline
func poke(p *byte, b byte) { *p = b }
