package loom

import (
	"errors"
	"fmt"

	"loomstore/internal/mapping"
)

// SetWatermarks tells where live bytes end: [0, low) is saved by the next
// checkpoint, [high, size) is live scratch, and what lies between is free
// space. Call it before the stores that it announces. It costs two atomic
// stores and may be called while the program runs.
//
// A low watermark below the last one shrinks the image at the next checkpoint.
// With Options.Guard the first call places the guard page.
func (l *Loom) SetWatermarks(low, high int64) error {
	if err := l.arena.SetWatermarks(int(low), int(high)); err != nil {
		return fmt.Errorf("loom: %w", err)
	}
	l.low.Store(low)
	if !l.lowSet.Swap(true) && l.o.Guard {
		return l.Ward()
	}
	return nil
}

// Ward puts the guard page into the middle of the free space now. The error is
// guard.ErrExhausted if there is no room. Without Options.Guard it does
// nothing, nor before the first SetWatermarks: nobody has said yet what is free.
func (l *Loom) Ward() error {
	if !l.lowSet.Load() {
		return nil
	}
	if err := l.arena.Ward(); err != nil {
		return fmt.Errorf("loom: %w", err)
	}
	return nil
}

// Touch prepares the n bytes at off for a system call that stores into them,
// such as os.File.Read. The mprotect tracker needs it, after every checkpoint
// anew, and so does an arena with a guard page; else it costs next to nothing.
// It may be called while the program runs.
func (l *Loom) Touch(off, n int) error {
	if err := l.arena.Touch(off, n); err != nil {
		return fmt.Errorf("loom: %w", err)
	}
	return nil
}

// DirtyAll makes every page of the image dirty: the next checkpoint writes
// everything. A checkpoint on its way is waited for.
func (l *Loom) DirtyAll() error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	l.awaitCapture()
	l.arena.MarkAll(l.store.Pages())
	return nil
}

// Unprotect stops tracking until the next checkpoint, which compares every
// page instead: for a phase that stores to nearly all of them. The program
// must be stopped.
func (l *Loom) Unprotect() error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	return l.arena.Unprotect()
}

// Toss gives the memory of the free space above the image back to the system:
// its pages read as zero afterwards. The space of an ephemeral arena stays
// where it is. A checkpoint on its way is waited for. The program must be
// stopped.
func (l *Loom) Toss() error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	if l.limbo != nil {
		return nil
	}
	l.awaitCapture() // its pages may be about to become the image's
	low, err := l.lowWatermark(l.store.State())
	if err != nil {
		return fmt.Errorf("loom: toss: %w", err)
	}
	_, high := l.arena.Watermarks()
	from, to := max(pagesFor(low), l.store.Pages()), high/PageSize
	if from >= to {
		return nil
	}
	if err := l.zero(from, to); err != nil {
		return fmt.Errorf("loom: toss: %w", err)
	}
	return nil
}

// zero makes the anonymous pages [from, to) zero and clean.
func (l *Loom) zero(from, to int) error {
	if err := l.region.Advise(from*PageSize, (to-from)*PageSize, mapping.DontNeed); err != nil {
		return err
	}
	return l.arena.Forget(from, to)
}

// pagesFor is how many pages hold n bytes.
func pagesFor(n int64) int { return int((n + PageSize - 1) / PageSize) }

// detach makes the file pages [from, mapped) anonymous, with the content they
// have: the image is about to become shorter, and truncating a file destroys
// what is mapped above its new end, private copies included. It goes from the
// top down, so that after an error the file pages still are the leading ones.
func (l *Loom) detach(from int) error {
	anonymous := func(lo, hi int) error {
		return l.region.MapAnon(lo*PageSize, (hi-lo)*PageSize, mapping.ReadWrite)
	}
	for hi := l.mapped; hi > from; hi = l.mapped {
		lo := max(from, hi-maxKept)
		if err := l.keep(lo, hi, anonymous); err != nil {
			return err
		}
		l.mapped = lo
		if err := errors.Join(l.arena.SetMapped(lo), l.arena.Forget(lo, hi)); err != nil {
			return err
		}
	}
	return nil
}

// maxKept is how many pages keep copies at once.
const maxKept = 64

// keep maps the pages [lo, hi), at most maxKept, anew with the content they
// have; but the guard page, which is free space, can not be read.
func (l *Loom) keep(lo, hi int, remap func(lo, hi int) error) error {
	content := make([]byte, (hi-lo)*PageSize)
	part := l.region.Bytes()[lo*PageSize : hi*PageSize]
	parts := [][2]int{{0, len(part)}}
	if g := l.arena.GuardPage(); g >= lo && g < hi {
		parts = [][2]int{{0, (g - lo) * PageSize}, {(g - lo + 1) * PageSize, len(part)}}
	}
	copyParts := func(dst, src []byte) {
		for _, p := range parts {
			copy(dst[p[0]:p[1]], src[p[0]:p[1]])
		}
	}
	if err := l.Do(func() error { copyParts(content, part); return nil }); err != nil {
		return err
	}
	if err := remap(lo, hi); err != nil {
		return err
	}
	copyParts(part, content)
	return nil
}

// shrink prepares the arena for an image of only pages pages. What lies above
// is dirty from now on: it has to be saved again should the image grow over
// it.
func (l *Loom) shrink(pages int) error {
	old := l.store.Pages()
	if pages >= old {
		return nil
	}
	if err := l.detach(min(pages, l.mapped)); err != nil {
		return fmt.Errorf("shrink the image to %d pages: %w", pages, err)
	}
	above := make([]int, 0, old-pages)
	for p := pages; p < old; p++ {
		above = append(above, p)
	}
	l.arena.Mark(above)
	return nil
}
