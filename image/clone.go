package image

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"loomstore/patch"
)

// clone is take where the file system can share image.bin's blocks with dst
// (reflink), which takes the same time for any size; false where it can not, and
// then nothing was done. No apply runs while the blocks become shared and the
// other files are read. What is compared with the hashes afterwards, without a
// lock, are the pages of dst: those that the copy has.
func (s *snapshot) clone() (done bool, err error) {
	if err := s.share(); errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	} else if err != nil || s.rec == nil || s.o.Unread {
		return true, err
	}
	scan := s.scanner(len(s.hashes))
	var mu sync.Mutex
	return true, scan.runs(s.ctx, s.dst, len(s.hashes), func(first, n int, content []byte) error {
		got := make([]uint64, n)
		scan.sum(got, content)
		for i, want := range s.hashes[first : first+n] {
			if got[i] != want {
				mu.Lock()
				s.report(pageDefect(first+i, int64(first+i)*int64(s.o.Geometry.PageSize), want, got[i]))
				mu.Unlock()
			}
		}
		return nil
	})
}

// share makes dst the image, with the patch laid over it that may not be in it
// yet.
func (s *snapshot) share() error {
	unlock, err := s.lockApply()
	if err != nil {
		return err
	}
	defer unlock()
	began := time.Now()
	defer func() { s.held = time.Since(began) }()
	r := &reading{o: s.o, ctx: s.ctx, x: new(examination)}
	defer r.close()
	if err := r.open(s.dir); err != nil {
		return err
	}
	if r.image == nil {
		return errors.ErrUnsupported
	}
	s.dstBytes = r.imageLen
	if err := s.dst.CloneFrom(r.image); err != nil {
		return s.o.spaceError(s.dstDir, patch.ImageFile, s.dstBytes, err)
	}
	s.shared = true
	h, body, err := s.describe(r)
	if err != nil || h == nil {
		return err
	}
	if body != nil && digestOf(s.hashes) != s.rec.NewDigest {
		pages := int((r.imageLen + int64(s.o.Geometry.PageSize) - 1) / int64(s.o.Geometry.PageSize))
		read, err := s.o.scanner().sums(s.ctx, r.image, pages, nil)
		if err != nil {
			return err
		}
		s.fromImage(read, body)
	}
	s.checkTable(r, h, body)
	if err := s.dst.Truncate(s.length()); err != nil {
		return fmt.Errorf("resize the copy of %s: %w", patch.ImageFile, err)
	}
	if body == nil {
		return nil
	}
	return s.layOver(h, body)
}

// layOver writes the pages of a body over dst. One that is bad matters only
// where the image waits for it.
func (s *snapshot) layOver(h *patch.Header, body *patch.Body) error {
	page := make([]byte, s.o.Geometry.PageSize)
	for i, l := range body.Lines {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if err := body.ReadPages(i, 1, page); err == nil {
			if err := s.put(l.Page, page); err != nil {
				return err
			}
		} else if h.Epoch != s.rec.Epoch {
			s.report(asDefect(patch.MemoryFile, err))
		}
	}
	return nil
}
