package loom

import (
	"context"
	"runtime"
	"sync"

	"loomstore/internal/checksum"
	"loomstore/internal/mapping"
	"loomstore/patch"
)

const maxAppRecord = patch.MaxAppRecord

// pages is the number of pages in the arena.
func (l *Loom) pages() int { return l.region.Len() / PageSize }

// page returns the bytes of a page of the arena.
func (l *Loom) page(p int) []byte {
	return l.region.Bytes()[p*PageSize : (p+1)*PageSize : (p+1)*PageSize]
}

// mapArena puts the image into the arena and memory above it. Everything is
// readable and writable afterwards, and nothing is dirty.
func (l *Loom) mapArena(ctx context.Context) error {
	if l.o.Ephemeral != "" {
		return l.mapLimbo()
	}
	pages := l.store.State().Pages
	fd, mappable := l.store.Image().Fd()
	if l.o.Resident || !mappable {
		if err := l.mapAnon(0); err != nil {
			return err
		}
		return l.readImage(ctx, pages)
	}
	// The file mapping covers whole pages below the image's length only: what
	// lies behind the end of a file raises SIGBUS.
	if err := l.region.MapFile(0, pages*PageSize, mapping.ReadWrite, fd, 0, false); err != nil {
		return err
	}
	l.mapped = pages
	return l.mapAnon(pages)
}

// mapAnon maps zero pages from page on to the end.
func (l *Loom) mapAnon(page int) error {
	off := page * PageSize
	if off == l.region.Len() {
		return nil
	}
	if err := l.region.MapAnon(off, l.region.Len()-off, mapping.ReadWrite); err != nil {
		return err
	}
	// One store must not make 512 pages dirty. Kernels without huge pages
	// refuse the advice, and do not need it.
	_ = l.region.Advise(off, l.region.Len()-off, mapping.NoHugePage)
	return nil
}

// readImage reads and checks every page of the image into the arena, on all
// cores.
func (l *Loom) readImage(ctx context.Context, pages int) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for p := w; p < pages && ctx.Err() == nil; p += workers {
				if err := l.store.ReadPage(p, l.page(p)); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// reference is what the trackers know of the last committed checkpoint.
type reference struct {
	store interface {
		Hash(page int) (uint64, error)
		Applied() bool
		Pages() int
	}
}

// Same compares by hash. A table that can not be read knows nothing, so the
// page counts as changed.
func (r reference) Same(page int, content []byte) bool {
	want, err := r.store.Hash(page)
	return err == nil && checksum.Sum64(content) == want
}

func (r reference) Pages() int    { return r.store.Pages() }
func (r reference) Applied() bool { return r.store.Applied() }
