package loom

import (
	"fmt"

	"loomstore/internal/mapping"
)

// Rollback brings memory back to the last committed checkpoint: every byte
// below its low watermark, zeros above its image, its watermarks and its
// application record. The program must be stopped. After an error memory is a
// mixture: try again, or close and open the store.
func (l *Loom) Rollback() error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	if err := l.rollback(); err != nil {
		return fmt.Errorf("loom: rollback: %w", err)
	}
	return nil
}

func (l *Loom) rollback() error {
	// A checkpoint on its way either commits and is the target, or fails and is
	// forgotten with everything else.
	l.awaitCapture()
	l.capture = nil
	st := l.store.State()
	// Before the pages are collected: a guard page that stands on bytes which
	// come back to life is moved away then, and restored like the others.
	if err := l.arena.SetWatermarks(int(st.Low), l.high); err != nil {
		return err
	}
	l.low.Store(st.Low)
	dirty, err := l.arena.Collect(nil, st.Pages)
	if err != nil {
		return err
	}
	if err := l.restore(dirty); err != nil {
		l.arena.Mark(dirty)
		return err
	}
	if err := l.clearAbove(st.Pages); err != nil {
		return err
	}
	l.app = st.App
	return nil
}

// restore gives dirty pages their committed content. A page is dropped only
// where image.bin has that content for certain (R11).
func (l *Loom) restore(dirty []int) error {
	for _, p := range dirty {
		if p < l.mapped && !l.store.InBody(p) {
			if err := l.region.Advise(p*PageSize, PageSize, mapping.DontNeed); err != nil {
				return err
			}
			continue
		}
		if err := l.arena.Touch(p*PageSize, PageSize); err != nil {
			return err
		}
		if err := l.store.ReadPage(p, l.page(p)); err != nil {
			return err
		}
	}
	if len(dirty) == 0 {
		return nil
	}
	return l.arena.Forget(dirty[0], dirty[len(dirty)-1]+1)
}

// clearAbove makes everything above the image zero.
func (l *Loom) clearAbove(pages int) error {
	if l.limbo == nil {
		return l.zero(pages, l.pages())
	}
	// Cutting the scratch file short is what zeroes a shared mapping.
	if err := l.limbo.file.Truncate(int64(pages) * PageSize); err != nil {
		return err
	}
	if err := l.limbo.file.Truncate(int64(l.region.Len())); err != nil {
		return err
	}
	return l.arena.Forget(pages, l.pages())
}
