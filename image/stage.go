package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// Change is one checkpoint to be.
type Change struct {
	// Pages are the numbers of the pages that changed, ascending, below the
	// new page count.
	Pages []int
	// Content returns the bytes of Pages[i], one page long. It is called from
	// several goroutines, once for each page; the bytes are copied.
	Content func(i int) []byte
	// Guard, if not nil, is what each of those goroutines reads such bytes
	// under: it calls read, and makes an error of what goes wrong there, since
	// memory may be a mapping of a file that can not be read.
	Guard func(read func() error) error
	// Still says that nobody changes what Content returns until Stage is over:
	// then it is written from where it lies, and not copied.
	Still bool
	// Low is the new low watermark in bytes; the image gets the pages below it.
	Low int64
	// App is the new application record.
	App []byte
}

// Staged is a checkpoint whose body is durable. It is not yet a checkpoint.
type Staged struct {
	rec  *patch.Record // all but the digests
	body *patch.Body
}

// Pages returns how many pages the body holds, Bytes its length.
func (st *Staged) Pages() int { return len(st.body.Lines) }

// Bytes returns the length of the body in memory.bin.
func (st *Staged) Bytes(g patch.Geometry) int64 { return g.BodyLen(len(st.body.Lines)) }

// Stage does steps 2 and 3 of the protocol: it reserves every block that the
// checkpoint will need (W14) and makes its body durable. An error, a full disk
// or a cancelled context included, changed nothing: Stage may be called again
// and writes everything again (R4). One Stage at a time; it may run beside
// Apply of the checkpoint before.
func (s *Store) Stage(ctx context.Context, c Change) (*Staged, error) {
	if s.doubt != nil {
		return nil, s.doubt
	}
	g, cur := s.o.Geometry, s.cur.Load()
	length := g.BodyLen(len(c.Pages))
	rec := &patch.Record{
		Store: cur.Store, Base: cur.Epoch, Epoch: cur.Epoch + 1,
		OldPages: cur.NewPages, NewPages: int((c.Low + int64(g.PageSize) - 1) / int64(g.PageSize)), Low: c.Low,
		OldDigest: cur.NewDigest, Lines: len(c.Pages), BodyOffset: patch.Place(length, cur.BodyOffset, g.BodyLen(cur.Lines)), App: c.App,
	}
	if err := rec.Validate(g); err != nil {
		return nil, fmt.Errorf("image: checkpoint %d: %w", rec.Epoch, err)
	}
	if err := s.reserve(rec, c.Pages, length); err != nil {
		return nil, err
	}
	if err := s.secureHeader(); err != nil {
		return nil, err
	}
	if err := s.breakTorn(); err != nil {
		return nil, err
	}
	lines, err := s.writeBody(ctx, rec, c)
	if err != nil {
		s.sound = span{}
		return nil, fmt.Errorf("write the body of checkpoint %d: %w", rec.Epoch, s.spaceError(patch.MemoryFile, length, err))
	}
	if len(c.Pages) > 0 {
		if err := s.memory.Sync(); err != nil {
			s.sound = span{}
			return nil, fmt.Errorf("sync the body of checkpoint %d: %w", rec.Epoch, s.spaceError(patch.MemoryFile, length, err))
		}
		s.sound = s.sound.join(span{rec.BodyOffset, rec.BodyOffset + length})
	}
	return &Staged{rec: rec, body: patch.NewBody(s.memory, rec, lines, g)}, nil
}

// secureHeader writes the header again under which the store was found closed,
// before anything is built on it: a process that was killed in a Close or a
// creation, or whose sync failed there, leaves it in the cache only, and the
// next record needs a durable header of the epoch before. If the power is cut
// meanwhile, the record and its body, or the image's digest, decide.
func (s *Store) secureHeader() error {
	if !s.found {
		return nil
	}
	// Only the live mark may be the first CLEAN header of its block. To renew
	// another would be wrong: a process killed then leaves no header in the
	// cache and a CLEAN one on the medium, under which the next recovery would
	// change the image.
	cur := s.cur.Load()
	if err := s.writeHeader(cur, true, cur.Epoch == 0); err != nil {
		return s.spaceError(patch.SumsFile, patch.BlockSize, err)
	}
	if err := s.sums.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", patch.SumsFile, err)
	}
	s.found = false
	return nil
}

// breakTorn takes the hashes of torn records away, before a body may go over
// theirs. The record to come is zero where they are zero: if the power is cut
// while it is written, its sectors could make one of them whole that never was
// before, and whose body is gone. A hash lies in the last sector of its block,
// which goes as one.
func (s *Store) breakTorn() error {
	if len(s.torn) == 0 {
		return nil
	}
	for _, off := range s.torn {
		if _, err := s.control.WriteAt(make([]byte, patch.SectorSize), off+patch.BlockSize-patch.SectorSize); err != nil {
			return fmt.Errorf("write %s: %w", patch.ControlFile, err)
		}
	}
	if err := s.control.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", patch.ControlFile, err)
	}
	s.torn = nil
	return nil
}

// writeBody hashes and writes the pages in chunks, on several cores, and lets
// the disk begin with each; what is hashed is the very bytes that are written.
// The lines go last.
func (s *Store) writeBody(ctx context.Context, rec *patch.Record, c Change) ([]patch.Line, error) {
	g := s.o.Geometry
	lines := make([]patch.Line, len(c.Pages))
	if len(lines) == 0 {
		rec.LinesHash = patch.LinesHash(nil)
		return lines, nil
	}
	// Whoever wrote here before, this process excepted, may have failed.
	if body := (span{rec.BodyOffset, rec.BodyOffset + g.BodyLen(len(lines))}); !s.sound.holds(body) {
		if err := s.memory.Renew(body.from, body.blocks()); err != nil {
			return nil, err
		}
	}
	first := rec.BodyOffset + g.LinesLen(len(lines))
	err := inChunksUnder(ctx, c.Guard, s.o.Workers, len(lines), func(from, to int, sc *scratch) error {
		hash := func(i int, content []byte) {
			lines[i] = patch.Line{Page: c.Pages[i], Hash: checksum.Sum64(content)}
		}
		off, n := first+int64(from)*int64(g.PageSize), (to-from)*g.PageSize
		var err error
		if c.Still {
			vec := sc.vec[:0]
			for i := from; i < to; i++ {
				vec = append(vec, c.Content(i)[:g.PageSize])
				hash(i, vec[i-from])
			}
			_, err = s.memory.WriteVec(vec, off)
			clear(vec) // the pool must not keep the caller's memory alive
		} else {
			b := sc.bytes(n)
			for i := from; i < to; i++ {
				copied := b[(i-from)*g.PageSize:][:g.PageSize]
				copy(copied, c.Content(i))
				hash(i, copied)
			}
			_, err = s.memory.WriteAt(b, off)
		}
		if err == nil {
			s.memory.WriteBack(off, int64(n))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	encoded := patch.EncodeLines(make([]byte, 0, g.LinesLen(len(lines))), lines)
	rec.LinesHash = patch.LinesHash(encoded)
	_, err = s.memory.WriteAt(encoded[:cap(encoded)], rec.BodyOffset)
	return lines, err
}

// reserve allocates the blocks of the body and what reserveImage does.
func (s *Store) reserve(rec *patch.Record, pages []int, bodyLen int64) error {
	if len(pages) > 0 {
		if err := s.allocate(s.memory, patch.MemoryFile, rec.BodyOffset, bodyLen); err != nil {
			return err
		}
	}
	if err := s.reserveImage(rec, pages); err != nil {
		return err
	}
	return s.reserveSums(rec)
}

// reserveImage allocates the holes of the image that a line touches, those
// behind its end included. Pages by which the image grows without a line stay
// holes. Blocks for them would count as unwritten, and where a neighbour is
// written later a file system may make them zero instead: ext4 with
// data=journal does that beside its journal, which after a power cut puts back
// what the blocks held before.
func (s *Store) reserveImage(rec *patch.Record, pages []int) error {
	size := int64(s.o.Geometry.PageSize)
	length, allocated, err := s.image.Size()
	if err != nil {
		return err
	}
	s.sparse = s.sparse || allocated < length
	s.reserved.cut(rec.NewPages)
	i := 0
	if !s.sparse {
		i, _ = slices.BinarySearch(pages, rec.OldPages)
	}
	if rec.NewPages-rec.OldPages > len(pages)-i {
		s.sparse = true
	}
	for i < len(pages) {
		run := 1
		for i+run < len(pages) && pages[i+run] == pages[i]+run {
			run++
		}
		if !s.reserved.has(pages[i], run) {
			if err := s.allocate(s.image, patch.ImageFile, int64(pages[i])*size, int64(run)*size); err != nil {
				return err
			}
			s.reserved.add(pages[i], run)
		}
		i += run
	}
	return nil
}

// reserveSums allocates the entries of pages by which the image grows.
func (s *Store) reserveSums(rec *patch.Record) error {
	if rec.NewPages <= rec.OldPages {
		return nil
	}
	return s.allocate(s.sums, patch.SumsFile, 0, sumsLen(rec.NewPages))
}

func (s *Store) allocate(f vfs.File, name string, off, n int64) error {
	err := f.Allocate(off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // the space can not be promised here; the apply may have to wait for it
	}
	return s.spaceError(name, n, err)
}

// spaceError makes a full disk a *NoSpaceError.
func (s *Store) spaceError(name string, need int64, err error) error {
	return s.o.spaceError(s.dir, name, need, err)
}

func (o *Options) spaceError(dir, name string, need int64, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	available := int64(-1)
	if f, ok := o.FS.(vfs.Freer); ok {
		if n, err := f.Free(dir); err == nil {
			available = n
		}
	}
	return &NoSpaceError{File: name, Need: need, Available: available, Err: err}
}

// span is a part of a file.
type span struct{ from, to int64 }

// holds reports whether t lies in s.
func (s span) holds(t span) bool { return s.from <= t.from && t.to <= s.to }

// join returns the part that both make up together, or t if something lies
// between them.
func (s span) join(t span) span {
	if s.from > t.to || t.from > s.to {
		return t
	}
	return span{min(s.from, t.from), max(s.to, t.to)}
}

// blocks is the length up to the end of the last block.
func (s span) blocks() int64 {
	return (s.to - s.from + patch.BlockSize - 1) &^ (patch.BlockSize - 1)
}
