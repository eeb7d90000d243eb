package fault

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"loomstore/internal/mapping"
)

// systemPage is the smallest page of memory there is.
const systemPage = 4096

// Kind names a way to find dirty pages.
type Kind string

// The ways there are. Auto is the best one that the system allows.
const (
	Auto     Kind = "auto"
	Uffd     Kind = "uffd"
	Mprotect Kind = "mprotect"
	Cow      Kind = "cow"
	Compare  Kind = "compare"
)

// candidates are what Auto tries, in this order.
var candidates = []struct {
	kind   Kind
	reason string
}{
	{Uffd, "the kernel notes stores by itself"},
	{Mprotect, "finds each page at its first store"},
	{Cow, "the system tells private copies from file pages"},
	{Compare, "needs nothing from the system"},
}

// tracker is one way to find dirty pages. Ranges are page numbers that have
// been checked; skipping the guard page is the tracker's business.
type tracker interface {
	collect(dst []int, limit int) ([]int, error)
	mark(lo, hi int)
	touch(lo, hi int) error
	highest() (int, error)
	forget(lo, hi int) error
	unprotect() error
	close() error
}

func newTracker(kind Kind, a *Arena) (tracker, error) {
	switch kind {
	case Uffd:
		return newUffd(a)
	case Mprotect:
		return newMprotect(a)
	case Cow:
		return newCow(a)
	case Compare:
		return newCompare(a)
	default:
		return nil, fmt.Errorf("unknown tracker: %w", ErrConfig)
	}
}

// Collect appends the numbers of all pages below limit that may differ from
// the state the Reference speaks of to dst, in ascending order, and re-arms
// them: from here on they count as clean until something is stored again.
// Pages at or above limit stay as dirty as they are. The guard page is never
// reported and never loses its dirt; a guard page that the watermarks have
// left behind is moved to the middle of the free space first, or taken away
// while there is no room.
//
// After an error nothing was taken: call again, and everything is found that
// was dirty before. dst is returned with what it held.
//
// The program must be stopped. An unreadable image page is an error that wraps
// mapping.ErrFault.
func (a *Arena) Collect(dst []int, limit int) ([]int, error) {
	if limit < 0 || limit > a.pages {
		return dst, fmt.Errorf("collect %d pages of %d: %w", limit, a.pages, ErrRange)
	}
	if err := a.settleGuard(); err != nil {
		return dst, fmt.Errorf("collect dirty pages: %w", err)
	}
	n := len(dst)
	dst, err := a.tracker.collect(dst, limit)
	if err != nil {
		return dst[:n], fmt.Errorf("collect dirty pages: %w", err)
	}
	return dst, nil
}

// Mark makes pages dirty: collected ones that were not saved, because they are
// free or the attempt failed. The next Collect reports them, whatever they
// hold.
func (a *Arena) Mark(pages []int) {
	for _, p := range pages {
		a.tracker.mark(p, p+1)
	}
}

// MarkAll makes the pages [0, n) dirty.
func (a *Arena) MarkAll(n int) { a.tracker.mark(0, n) }

// Touch prepares the bytes [off, off+n) for a system call that stores into
// them. It must come after the last Collect before the call. Where stores are
// found by faults it marks the pages and opens them, because the kernel would
// refuse the call with EFAULT (ExplainEFAULT says so to the user); a guard
// page in the range is moved away, by every tracker. No room for that is
// guard.ErrExhausted.
func (a *Arena) Touch(off, n int) error {
	if off < 0 || n < 0 || off > a.region.Len() || n > a.region.Len()-off {
		return fmt.Errorf("touch [%d, +%d) of %d bytes: %w", off, n, a.region.Len(), ErrRange)
	}
	if n == 0 {
		return nil
	}
	lo, hi := off/PageSize, (off+n-1)/PageSize+1
	if err := a.evadeGuard(lo, hi); err != nil {
		return fmt.Errorf("touch [%d, +%d): %w", off, n, err)
	}
	if err := a.tracker.touch(lo, hi); err != nil {
		return fmt.Errorf("touch [%d, +%d): %w", off, n, err)
	}
	return nil
}

// Own makes the pages, of the file mapping, private copies, which nothing that
// happens to the file can change; they are dirty afterwards. The program need
// not be stopped: each store is an atomic one of what is there. An unreadable
// image page is an error that wraps mapping.ErrFault.
func (a *Arena) Own(pages []int) error {
	return a.readable(func() error {
		for _, p := range pages {
			if p == a.slot.guardPage() {
				continue // nobody reads it
			}
			for off := 0; off < PageSize; off += systemPage {
				atomic.AddUint32((*uint32)(unsafe.Pointer(&a.page(p)[off])), 0)
			}
		}
		return nil
	})
}

// Highest returns one past the highest page that was dirtied since Open, for
// an engine without a low watermark: no page at or above it holds anything
// that a checkpoint would have to save. Trackers that compare, and Uffd,
// look no lower than Reference.Pages and never return less than they once did.
//
// The cost is a look at the summary of a bitmap for Mprotect, a scan of the
// arena's page tables above the image for Uffd and Cow, and reading the whole
// arena above the image for Compare. The program must be stopped.
func (a *Arena) Highest() (int, error) {
	n, err := a.tracker.highest()
	if err != nil {
		return 0, fmt.Errorf("find the highest dirty page: %w", err)
	}
	return n, nil
}

// Forget declares the pages [lo, hi) clean and re-arms them, after the engine
// replaced, dropped or restored them so that they hold the committed content.
// After pages were mapped anew it comes before the next store to them: a new
// mapping is not tracked. Dirty pages that are dropped without it may be
// reported once more when they are read.
// Pages that it replaced with other content, as before a shrink of the image,
// must be marked afterwards: Forget says nothing about them. New mappings must
// be readable and writable. The program must be stopped.
func (a *Arena) Forget(lo, hi int) error {
	if lo < 0 || lo > hi || hi > a.pages {
		return fmt.Errorf("forget pages [%d, %d) of %d: %w", lo, hi, a.pages, ErrRange)
	}
	if lo == hi {
		return nil
	}
	if err := a.tracker.forget(lo, hi); err != nil {
		return fmt.Errorf("forget pages [%d, %d): %w", lo, hi, err)
	}
	return a.restoreGuard(lo, hi)
}

// SetMapped tells that the leading n pages are now a private mapping of
// image.bin. Pages that were mapped anew need a Forget as well. The program
// must be stopped.
func (a *Arena) SetMapped(n int) error {
	if n < 0 || n > a.pages {
		return fmt.Errorf("%d file pages in an arena of %d: %w", n, a.pages, ErrRange)
	}
	a.mapped = n
	return nil
}

// Unprotect ends the tracking until the next Collect, which takes every page
// for dirty until it has compared it. The guard page stays. The program must
// be stopped.
func (a *Arena) Unprotect() error {
	if err := a.tracker.unprotect(); err != nil {
		return fmt.Errorf("unprotect the arena: %w", err)
	}
	return nil
}

// page returns the bytes of a page.
func (a *Arena) page(p int) []byte {
	return a.region.Bytes()[p*PageSize : (p+1)*PageSize : (p+1)*PageSize]
}

// differs tells whether a page has to be saved. Reading it may fault: callers
// run inside readable.
func (a *Arena) differs(p int) bool { return !same(a.ref, p, a.page(p)) }

// readable runs f, which reads pages of the arena, and turns a fault into an
// error: the image behind a page may be unreadable.
func (a *Arena) readable(f func() error) error {
	err := mapping.Guarded(a.region.Bytes(), f)
	if fe, ok := errors.AsType[*mapping.FaultError](err); ok {
		return fmt.Errorf("read page %d: %w", fe.Offset/PageSize, err)
	}
	return err
}

// protect gives all pages of [lo, hi) but the guard page a protection.
func (a *Arena) protect(lo, hi int, prot mapping.Prot) error {
	g := a.slot.guardPage()
	if g < lo || g >= hi {
		return a.region.Protect(lo*PageSize, (hi-lo)*PageSize, prot)
	}
	if err := a.region.Protect(lo*PageSize, (g-lo)*PageSize, prot); err != nil {
		return err
	}
	return a.region.Protect((g+1)*PageSize, (hi-g-1)*PageSize, prot)
}
