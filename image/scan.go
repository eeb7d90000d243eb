package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"loomstore/internal/checksum"
	"loomstore/patch"
)

// scanPages is how many pages one read brings in.
const scanPages = 64

// scanner hashes the pages of an image on all cores.
type scanner struct {
	g       patch.Geometry
	workers int // 0: one a core
	// length is how long the file is known to be: a read that ends before that
	// is an error. 0 is not known.
	length int64
	// progress, if set, is told of every run of pages done. Any goroutine.
	progress func(pages int)
}

// hash reads pages [0, pages) of r and calls each with every page's number
// and content, from several goroutines at once. What lies behind the end of
// the file is zero. The content is valid during the call only.
func (s scanner) hash(ctx context.Context, r io.ReaderAt, pages int, each func(page int, content []byte) error) error {
	workers := s.workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, (pages+scanPages-1)/scanPages) {
		wg.Go(func() {
			buf := make([]byte, scanPages*s.g.PageSize)
			for ctx.Err() == nil {
				first := int(next.Add(scanPages)) - scanPages
				if first >= pages {
					return
				}
				n := min(scanPages, pages-first)
				if err := s.run(r, first, n, buf, each); err != nil {
					cancel(err)
					return
				}
				if s.progress != nil {
					s.progress(n)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s scanner) run(r io.ReaderAt, first, n int, buf []byte, each func(int, []byte) error) error {
	buf = buf[:n*s.g.PageSize]
	off := int64(first) * int64(s.g.PageSize)
	got, err := r.ReadAt(buf, off)
	if errors.Is(err, io.EOF) && off+int64(got) < min(s.length, off+int64(len(buf))) {
		err = fmt.Errorf("%w at %d, the file has %d bytes", io.ErrUnexpectedEOF, off+int64(got), s.length)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read pages %d to %d of %s: %w", first, first+n-1, patch.ImageFile, err)
	}
	clear(buf[got:])
	for i := range n {
		if err := each(first+i, buf[i*s.g.PageSize:(i+1)*s.g.PageSize]); err != nil {
			return err
		}
	}
	return nil
}

// sums returns the hash of every page; a page that body holds counts with its
// line instead.
func (s scanner) sums(ctx context.Context, r io.ReaderAt, pages int, body *patch.Body) ([]uint64, error) {
	hashes := make([]uint64, pages)
	err := s.hash(ctx, r, pages, func(page int, content []byte) error {
		if body != nil {
			if i, ok := body.Find(page); ok {
				hashes[page] = body.Lines[i].Hash
				return nil
			}
		}
		hashes[page] = checksum.Sum64(content)
		return nil
	})
	return hashes, err
}

// digestOf sums up a whole table.
func digestOf(hashes []uint64) patch.Digest {
	var d patch.Digest
	for p, h := range hashes {
		d = d.Add(p, h)
	}
	return d
}
