package image

import (
	"context"
	"errors"
	"fmt"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// Apply does step 5 of the protocol: it brings the last committed checkpoint
// into image.bin and sums.bin and makes both durable. It does nothing if that
// is done already. After an error the patch is still there; calling Apply
// again writes everything again (R4: a second sync alone proves nothing).
//
// It waits for byte 1 of the lock while a backup reads. It may run beside the
// Stage of the next checkpoint, but not beside Commit.
func (s *Store) Apply(ctx context.Context) error {
	s.mu.Lock()
	p := s.pending
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	if p.handed != nil {
		return s.awaitHandOver(ctx, p)
	}
	if err := s.lock.Lock(ctx, lockApply, true); err != nil {
		return fmt.Errorf("apply checkpoint %d: %w", p.rec.Epoch, err)
	}
	err := s.apply(ctx, p)
	p.redo = true
	if unlockErr := s.lock.Unlock(lockApply); err == nil {
		err = unlockErr
	}
	if err != nil {
		return fmt.Errorf("apply checkpoint %d: %w", p.rec.Epoch, err)
	}
	s.applied()
	return nil
}

// applied notes that the last committed checkpoint is durable in the image.
func (s *Store) applied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.clean = nil, false
}

func (s *Store) apply(ctx context.Context, p *pending) error {
	if err := s.applyPages(ctx, p); err != nil {
		return err
	}
	if err := s.applySums(p); err != nil {
		return err
	}
	if err := s.writeHeader(p.rec, false, p.redo); err != nil {
		return err
	}
	s.sums.WriteBack(0, sumsLen(p.rec.NewPages)) // while image.bin is synced
	if err := s.image.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", patch.ImageFile, err)
	}
	if err := s.sums.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", patch.SumsFile, err)
	}
	return nil
}

// applyPages sets the image's length and brings the pages into it: long runs
// of neighbours by sharing the body's blocks where the file system can, all
// others by copying. What is written again is copied: see renew.
func (s *Store) applyPages(ctx context.Context, p *pending) error {
	size, lines := s.o.Geometry.PageSize, p.body.Lines
	if err := setLength(s.image, int64(p.rec.NewPages)*int64(size), p.redo); err != nil {
		return fmt.Errorf("resize %s: %w", patch.ImageFile, err)
	}
	done := 0
	for i := 0; i < len(lines) && !s.copies && !p.redo; {
		end := i + neighbours(lines[i:])
		if end-i >= s.o.ShareRun {
			if err := s.copyPages(ctx, p, done, i); err != nil {
				return err
			}
			if err := s.sharePages(ctx, p, i, end); err != nil {
				return err
			}
			done = end
		}
		i = end
	}
	return s.copyPages(ctx, p, done, len(lines))
}

// neighbours is how many of the lines, from the first on, are of consecutive
// pages.
func neighbours(lines []patch.Line) int {
	n := 1
	for n < len(lines) && lines[n].Page == lines[0].Page+n {
		n++
	}
	return n
}

// copyPages writes the pages of lines [i, end), neighbours in one call, and
// lets the disk begin with each chunk while the next is read: pages that lie
// scattered are one request each, so it is the disk that takes long. They are
// read back from the body, because the program may have stored into the arena
// since, and checked against their lines on the way. One core is enough; the
// program has the others.
func (s *Store) copyPages(ctx context.Context, p *pending, i, end int) error {
	size := s.o.Geometry.PageSize
	return inChunks(ctx, 1, end-i, func(from, to int, c *scratch) error {
		b := c.bytes((to - from) * size)
		if err := p.body.ReadPages(i+from, to-from, b); err != nil {
			return err
		}
		lines := p.body.Lines[i+from : i+to]
		for k := 0; k < len(lines); {
			run := neighbours(lines[k:])
			off := int64(lines[k].Page) * int64(size)
			if err := renew(s.image, off, int64(run*size), p.redo); err != nil {
				return fmt.Errorf("renew %s: %w", patch.ImageFile, err)
			}
			if _, err := s.image.WriteAt(b[k*size:(k+run)*size], off); err != nil {
				return fmt.Errorf("write %s: %w", patch.ImageFile, err)
			}
			k += run
		}
		// In one call: what lies between the pages is clean and not written.
		off := int64(lines[0].Page) * int64(size)
		s.image.WriteBack(off, int64(lines[len(lines)-1].Page+1)*int64(size)-off)
		return nil
	})
}

// sharePages checks the neighbouring pages of lines [i, end) against their
// lines and gives the image the body's blocks, which are not written a second
// time. When the next body but one is written over them, memory.bin gets
// others.
func (s *Store) sharePages(ctx context.Context, p *pending, i, end int) error {
	size := s.o.Geometry.PageSize
	err := inChunks(ctx, 1, end-i, func(from, to int, c *scratch) error {
		return p.body.ReadPages(i+from, to-from, c.bytes((to-from)*size))
	})
	if err != nil {
		return err
	}
	err = vfs.CloneRange(s.image, s.memory, p.body.PageOffset(i), int64(end-i)*int64(size), int64(p.body.Lines[i].Page)*int64(size))
	if errors.Is(err, errors.ErrUnsupported) {
		s.copies = true
		return s.copyPages(ctx, p, i, end)
	} else if err != nil {
		return fmt.Errorf("share blocks of %s: %w", patch.ImageFile, err)
	}
	return nil
}

// applySums sets the length of sums.bin and writes the blocks of entries that
// changed: those of the lines and of pages by which the image grew.
func (s *Store) applySums(p *pending) error {
	rec := p.rec
	if err := setLength(s.sums, sumsLen(rec.NewPages), p.redo); err != nil {
		return fmt.Errorf("resize %s: %w", patch.SumsFile, err)
	}
	if err := s.table.write(p.chunks(), rec.NewPages, p.redo); err != nil {
		return err
	}
	s.table.written(rec.NewPages)
	return nil
}

// chunks are the blocks of entries that an apply has to write, ascending.
func (p *pending) chunks() []int {
	rec, from := p.rec, p.rec.OldPages
	if p.all {
		from = 0
	}
	// Blocks from first on are written whole: they hold grown pages.
	first := chunksFor(rec.NewPages)
	if from < rec.NewPages {
		first = from / perChunk
	}
	var set []int
	for _, l := range p.body.Lines {
		if c := l.Page / perChunk; c < first && (len(set) == 0 || set[len(set)-1] != c) {
			set = append(set, c)
		}
	}
	for c := first; c < chunksFor(rec.NewPages); c++ {
		set = append(set, c)
	}
	return set
}

// writeHeader writes the header of r's checkpoint; again says that an earlier
// attempt may have failed.
func (s *Store) writeHeader(r *patch.Record, clean, again bool) error {
	if err := renew(s.sums, headerOffset(r.Epoch), patch.BlockSize, again); err != nil {
		return fmt.Errorf("renew the header of %s: %w", patch.SumsFile, err)
	}
	if _, err := s.sums.WriteAt(s.header(r, clean), headerOffset(r.Epoch)); err != nil {
		return fmt.Errorf("write the header of %s: %w", patch.SumsFile, err)
	}
	return nil
}

func (s *Store) header(r *patch.Record, clean bool) []byte {
	h := &patch.Header{Store: r.Store, Epoch: r.Epoch, Pages: r.NewPages, Low: r.Low, Digest: r.NewDigest, Clean: clean, App: r.App}
	return marshalHeader(h, s.o.Geometry)
}

// setLength truncates or extends f if its length differs, and always where an
// earlier attempt may have failed or been cut off: then the length that is seen
// may be the cache's only, like everything else (R4).
func setLength(f vfs.File, want int64, always bool) error {
	length, _, err := f.Size()
	if err != nil || length == want && !always {
		return err
	}
	return f.Truncate(want)
}

// renew makes room for bytes that may have been written before and not have
// reached the medium: what is then written over them has to.
func renew(f vfs.File, off, n int64, again bool) error {
	if !again {
		return nil
	}
	return f.Renew(off, n)
}
