//go:build amd64 || arm64

package fault

import (
	"errors"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// mprotect keeps clean pages read-only. The first store to one faults, the
// handler sets the page's bit and opens it.
//
// Some stores can go unseen: after an overflow in the handler, and after
// Unprotect. Then the pages from suspect on count as dirty until they were
// compared, which Collect does as far as its limit goes.
type mprotect struct {
	a       *Arena
	dirty   *bitmap
	suspect int      // pages from here on may be dirty without a bit
	private *pagemap // which pages can be suspected at all; nil if the system does not say
}

func newMprotect(a *Arena) (tracker, error) {
	dirty, err := newBitmap(a.pages)
	if err != nil {
		return nil, err
	}
	m := &mprotect{a: a, dirty: dirty, suspect: a.pages}
	if !a.shared {
		// Needed after an overflow only: without it, everything is compared.
		m.private, _ = openPagemap(a)
	}
	if err := m.arm(0, a.pages); err != nil {
		_ = m.close()
		return nil, err
	}
	a.slot.bits, a.slot.summary = dirty.addresses()
	return m, nil
}

// arm protects pages that may be newly mapped.
//
// The kernel merges areas again that protection has split only if they belong
// to the same anonymous memory, which an area gets at its first store. So one
// page of each mapping is stored to while there is one area, or the areas pile
// up with every checkpoint.
func (m *mprotect) arm(lo, hi int) error {
	a := m.a
	if !a.shared {
		mapped := min(max(a.mapped, lo), hi)
		for _, part := range [][2]int{{lo, mapped}, {mapped, hi}} {
			if err := m.storeOnce(part[0], part[1]); err != nil {
				return err
			}
		}
	}
	return a.protect(lo, hi, mapping.Read)
}

// storeOnce makes a private copy of one page of [lo, hi), not the guard page.
func (m *mprotect) storeOnce(lo, hi int) error {
	if lo == m.a.slot.guardPage() {
		lo++
	}
	if lo >= hi {
		return nil
	}
	if err := m.a.region.Protect(lo*PageSize, PageSize, mapping.ReadWrite); err != nil {
		return err
	}
	return m.a.readable(func() error {
		first := &m.a.page(lo)[0]
		poke(first, *first)
		return nil
	})
}

func (m *mprotect) collect(dst []int, limit int) ([]int, error) {
	m.noteOverflow()
	if err := m.a.protect(0, m.a.pages, mapping.Read); err != nil {
		return dst, err
	}
	m.a.slot.overflow.Store(0)
	if m.suspect < limit {
		if err := m.compare(m.suspect, limit); err != nil {
			return dst, err
		}
		m.suspect = limit
	}
	return m.dirty.take(dst, limit, m.a.slot.guardPage()), nil
}

func (m *mprotect) noteOverflow() {
	if m.a.slot.overflow.Load() != 0 {
		m.suspect = 0
	}
}

// compare gives suspected pages their bit if they need it.
func (m *mprotect) compare(lo, hi int) error {
	return m.a.readable(func() error {
		return m.private.ascend(lo, hi, func(p int) {
			// What the guard page hides is found out when it has moved away.
			if p == m.a.slot.guardPage() || m.a.differs(p) {
				m.dirty.add(p, p+1)
			}
		})
	})
}

func (m *mprotect) mark(lo, hi int) { m.dirty.add(lo, hi) }

func (m *mprotect) touch(lo, hi int) error {
	m.dirty.add(lo, hi)
	err := m.a.protect(lo, hi, mapping.ReadWrite)
	if errors.Is(err, unix.ENOMEM) {
		// As in the handler: the flag first, then everything.
		lo, hi = 0, m.a.pages
		m.a.slot.overflows.Add(1)
		m.a.slot.overflow.Store(1)
		err = m.a.protect(lo, hi, mapping.ReadWrite)
	}
	if err != nil {
		return err
	}
	return m.a.restoreGuard(lo, hi)
}

func (m *mprotect) highest() (int, error) {
	m.noteOverflow()
	top := m.dirty.top()
	found, err := m.a.highestDiffering(m.private, max(top, m.suspect))
	return max(top, found), err
}

func (m *mprotect) forget(lo, hi int) error {
	if err := m.arm(lo, hi); err != nil {
		m.suspect = min(m.suspect, lo)
		return err
	}
	m.dirty.remove(lo, hi)
	return nil
}

func (m *mprotect) unprotect() error {
	m.suspect = 0
	return m.a.protect(0, m.a.pages, mapping.ReadWrite)
}

func (m *mprotect) close() error {
	m.private.close()
	return m.dirty.close()
}

// nextGuard is guard.Next as the handler computes it, for the test that holds
// them against each other; -1 is guard.None.
func nextGuard(low, high, current int) int
