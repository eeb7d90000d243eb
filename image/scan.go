package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// scanner reads the pages of an image on all cores.
type scanner struct {
	g       patch.Geometry
	workers int // 0: one a core
	// length is how long the file is known to be: a read that ends before that
	// is an error. 0 is not known.
	length int64
	// progress, if set, is told of every run of pages done. Any goroutine.
	progress func(pages int)
	zero     uint64 // hash of a page of zeros
}

// runs reads pages [0, pages) of r and calls each with every run of them, at
// most chunkPages long, from several goroutines at once. The content is valid
// during the call only, and nil for pages of a hole and behind the end of the
// file, which hold zeros.
func (s scanner) runs(ctx context.Context, r io.ReaderAt, pages int, each func(first, n int, content []byte) error) error {
	holes, err := findHoles(r)
	if err == nil && holes.some && holes.length < s.length {
		err = fmt.Errorf("read %s: %w at %d, the file has %d bytes", patch.ImageFile, io.ErrUnexpectedEOF, holes.length, s.length)
	}
	if err != nil {
		return err
	}
	size := int64(s.g.PageSize)
	return inChunks(ctx, s.workers, pages, func(from, to int, sc *scratch) error {
		for from < to {
			first, end, err := holes.skip(from, to, size)
			if err != nil {
				return err
			}
			if first > from {
				err = each(from, first-from, nil)
			}
			if err == nil && end > first {
				var content []byte
				if content, err = s.read(r, first, end-first, sc); err == nil {
					err = each(first, end-first, content)
				}
			}
			if err != nil {
				return err
			}
			if s.progress != nil {
				s.progress(end - from)
			}
			from = end
		}
		return nil
	})
}

func (s scanner) read(r io.ReaderAt, first, n int, sc *scratch) ([]byte, error) {
	b, off := sc.bytes(n*s.g.PageSize), int64(first)*int64(s.g.PageSize)
	got, err := r.ReadAt(b, off)
	if errors.Is(err, io.EOF) && off+int64(got) < min(s.length, off+int64(len(b))) {
		err = fmt.Errorf("%w at %d, the file has %d bytes", io.ErrUnexpectedEOF, off+int64(got), s.length)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read pages %d to %d of %s: %w", first, first+n-1, patch.ImageFile, err)
	}
	clear(b[got:])
	return b, nil
}

// holes is a file that may have some. A file without any is not asked where
// its data is.
type holes struct {
	file   vfs.File
	length int64
	some   bool
}

func findHoles(r io.ReaderAt) (holes, error) {
	f, ok := r.(vfs.File)
	if !ok {
		return holes{}, nil
	}
	length, allocated, err := f.Size()
	return holes{f, length, allocated < length}, err
}

// skip returns the first pages in [from, to) that may hold data: [first, end).
// Before them are zeros, and if there is none, both are to.
func (h holes) skip(from, to int, size int64) (first, end int, err error) {
	if !h.some {
		return from, to, nil
	}
	for first, end = from, from; end < to; {
		at := int64(end) * size
		data, err := vfs.NextData(h.file, at)
		switch {
		case err != nil:
			return 0, 0, fmt.Errorf("look for holes of %s at %d: %w", patch.ImageFile, at, err)
		case data < at || data >= h.length: // there is no more; the file may have become shorter
			data = math.MaxInt64
		}
		switch next := int(min(data/size, int64(to))); {
		case next == end:
			end++
		case end > first:
			return first, end, nil
		default:
			first, end = next, next
		}
	}
	return first, end, nil
}

// sums returns the hash of every page; a page that body holds counts with its
// line instead.
func (s scanner) sums(ctx context.Context, r io.ReaderAt, pages int, body *patch.Body) ([]uint64, error) {
	hashes := make([]uint64, pages)
	err := s.runs(ctx, r, pages, func(first, n int, content []byte) error {
		s.sum(hashes[first:first+n], content)
		return nil
	})
	if err == nil && body != nil {
		for _, l := range body.Lines {
			hashes[l.Page] = l.Hash
		}
	}
	return hashes, err
}

// sum fills in the hashes of pages that a call of runs brought.
func (s scanner) sum(hashes []uint64, content []byte) {
	for i := range hashes {
		if content == nil {
			hashes[i] = s.zero
		} else {
			hashes[i] = checksum.Sum64(content[i*s.g.PageSize : (i+1)*s.g.PageSize])
		}
	}
}

// digestOf sums up a whole table.
func digestOf(hashes []uint64) patch.Digest {
	var d patch.Digest
	for p, h := range hashes {
		d = d.Add(p, h)
	}
	return d
}
