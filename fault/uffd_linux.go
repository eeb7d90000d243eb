package fault

import (
	"errors"
	"fmt"

	"loomstore/internal/mapping"
)

// maxSharedUffd is the largest shared arena that uffd takes. It marks every
// page of one in the page tables, at 2 MiB of them per GiB.
const maxSharedUffd = 256 << 30

// uffd lets the kernel find stores. The arena is registered with userfaultfd
// for asynchronous write protection: the first store to a protected page takes
// the protection away, without a signal, and PAGEMAP_SCAN reports the pages
// that have none and protects them again, in one call.
//
// Pages that were never touched need no protection in a private mapping: there
// is nothing in the page tables, so they can not be taken for dirty. In a
// shared one they are protected like all others.
//
// A scan that fails may have protected pages without reporting them. Then
// everything is registered anew, which makes the kernel report every page that
// was ever stored to, and these are compared. If that is not possible either,
// as without a descriptor to be had, each Collect compares all private pages,
// until it is.
type uffd struct {
	a       *Arena
	fault   userfault
	tables  *pagemap // scans for what was filled since it was armed
	written *written
	dirty   *bitmap
	suspect int  // pages from here on are reported for any reason: compare them
	lost    bool // what the kernel knows is not all there was
}

func newUffd(a *Arena) (_ tracker, err error) {
	if a.shared && a.region.Len() > maxSharedUffd {
		return nil, fmt.Errorf("shared arena of more than %d bytes: %w", maxSharedUffd, errors.ErrUnsupported)
	}
	u := &uffd{a: a, fault: userfault{-1}, suspect: a.pages}
	defer func() {
		if err != nil {
			_ = u.close()
		}
	}()
	if u.fault, err = openUserfault(); err != nil {
		return nil, err
	}
	if u.tables, err = openPagemap(a); err != nil {
		return nil, err
	}
	if u.tables.scanner == nil {
		return nil, fmt.Errorf("scan of the page tables: %w", errors.ErrUnsupported)
	}
	u.tables.wanted = isFilled
	if a.shared {
		u.tables.wanted = isUnarmed
	}
	if u.written, err = newWritten(u.tables.scanner, a.shared); err != nil {
		return nil, err
	}
	if err := u.fault.probe(u.tables); err != nil {
		return nil, err
	}
	if u.dirty, err = newBitmap(a.pages); err != nil {
		return nil, err
	}
	// What was stored before counts as clean, as in an arena that was filled
	// by reading the image.
	if err := u.arm(0, a.pages); err != nil {
		return nil, err
	}
	return u, nil
}

// probe stores into a page and looks whether it is reported, once.
func (f userfault) probe(tables *pagemap) error {
	r, err := mapping.Reserve(PageSize, PageSize)
	if err != nil {
		return err
	}
	defer r.Release()
	if err := r.MapAnon(0, PageSize, mapping.ReadWrite); err != nil {
		return err
	}
	if err := f.register(r); err != nil {
		return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	s := *tables.scanner
	s.region = r
	w, err := newWritten(&s, false)
	if err != nil {
		return err
	}
	defer w.close()
	for i, stored := range []bool{false, true, false, true} {
		if stored {
			r.Bytes()[PageSize/2]++
		}
		reported := false
		if err := w.take(1, 0, func(int, int, bool) { reported = true }); err != nil {
			return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
		}
		if reported != stored {
			return fmt.Errorf("scan %d of the page tables does not tell the truth about stores: %w", i, errors.ErrUnsupported)
		}
	}
	return nil
}

// arm makes the pages [lo, hi), which may be newly mapped, clean.
func (u *uffd) arm(lo, hi int) error {
	// One store must not make 512 pages dirty. Kernels without huge pages
	// refuse the advice, and do not need it.
	_ = u.a.region.Advise(lo*PageSize, (hi-lo)*PageSize, mapping.NoHugePage)
	if err := u.fault.register(u.a.region); err != nil {
		return err
	}
	if err := u.written.forget(lo, hi); err != nil {
		return err
	}
	// Above the file mapping nobody knows what the image's pages hold.
	u.written.hold(max(lo, u.a.mapped), min(hi, u.a.ref.Pages()))
	return nil
}

// lose notes that pages may have been armed without having been reported.
func (u *uffd) lose() { u.lost, u.written.doubt = true, true }

func (u *uffd) collect(dst []int, limit int) ([]int, error) {
	if err := u.certainly(func() error { return u.gather(limit) }); err != nil {
		if err := u.compare(limit); err != nil {
			return dst, err
		}
	}
	u.suspect = max(u.suspect, limit)
	return u.dirty.take(dst, limit, u.a.slot.guardPage()), nil
}

// gather puts the written pages below limit into the dirty set and re-arms
// them. The guard page is one of them, and stays there.
func (u *uffd) gather(limit int) error {
	g := u.a.slot.guardPage()
	return u.a.readable(func() error {
		return u.written.take(limit, u.a.mapped, func(lo, hi int, zero bool) {
			// What held something and shows the shared page of zeros was read after
			// it had been dropped, or the kernel found that what was stored is all
			// zeros.
			if lo < u.suspect && !zero {
				u.dirty.add(lo, min(hi, u.suspect))
				lo = u.suspect
			}
			for p := lo; p < hi; p++ {
				if p == g || u.a.differs(p) {
					u.dirty.add(p, p+1)
				}
			}
		})
	})
}

// compare puts what differs into the dirty set, while the kernel can not be
// made to note stores.
func (u *uffd) compare(limit int) error {
	u.a.compared.Add(1)
	g := u.a.slot.guardPage()
	return u.a.readable(func() (err error) {
		for _, m := range append(u.untracked(), nil) {
			err = m.ascend(0, limit, func(p int) {
				if p == g || u.a.differs(p) {
					u.dirty.add(p, p+1)
				}
			})
			if err == nil {
				break
			}
		}
		return err
	})
}

// untracked returns what tells pages that can differ without a registration,
// the best first.
func (u *uffd) untracked() []*pagemap {
	if u.a.shared {
		return []*pagemap{nil}
	}
	scanned, read := *u.tables, *u.tables
	scanned.wanted, read.scanner = isPrivate, nil
	return []*pagemap{&scanned, &read}
}

// certainly runs f, which scans, and after an error once more on a new
// registration.
func (u *uffd) certainly(f func() error) error {
	if !u.lost {
		if f() == nil {
			return nil
		}
		u.lose()
	}
	if err := u.rebuild(); err != nil {
		return err
	}
	err := f()
	u.lost = err != nil
	return err
}

// rebuild registers the arena anew. All protection is gone then.
func (u *uffd) rebuild() error {
	// Closing would do, unless a child process still holds the descriptor. An
	// error is none of the new registration, which will say what is wrong.
	_ = u.fault.forget(u.a.region)
	u.fault.close()
	var err error
	if u.fault, err = openUserfault(); err != nil {
		return err
	}
	u.suspect = 0
	u.a.rebuilds.Add(1)
	return u.fault.register(u.a.region)
}

func (u *uffd) mark(lo, hi int) { u.dirty.add(lo, hi) }

// touch has nothing to do: the kernel's own stores are noted, too.
func (u *uffd) touch(int, int) error { return nil }

func (u *uffd) highest() (int, error) {
	top := u.dirty.top()
	found := 0
	err := u.certainly(func() (err error) {
		found, err = u.a.highestDiffering(u.tables, max(top, u.a.ref.Pages()))
		return err
	})
	for _, m := range u.untracked() {
		if err == nil {
			break
		}
		found, err = u.a.highestDiffering(m, max(top, u.a.ref.Pages()))
	}
	return max(top, found), err
}

func (u *uffd) forget(lo, hi int) error {
	if u.arm(lo, hi) != nil {
		u.lose() // everything will be compared, these pages too
	}
	u.dirty.remove(lo, hi)
	return nil
}

// unprotect has nothing to do: no store faults into the program.
func (u *uffd) unprotect() error { return nil }

func (u *uffd) close() error {
	u.fault.close()
	u.tables.close()
	return errors.Join(u.written.close(), u.dirty.close())
}
