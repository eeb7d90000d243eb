package image

import (
	"context"
	"errors"
	"fmt"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// handOver does step 4 of the protocol and has step 5 done: the record, its
// sync and the apply go to a file system outside this process as one sequence.
// So whatever becomes of this process, a record that is written at all is
// followed by its apply, and the store's lock is held until then.
//
// The pages are copied from the body as they are: what rots in it between the
// commit point and the copy is found by the hash in sums.bin, not here.
func (s *Store) handOver(fsys vfs.Sequencer, p *pending, record []byte) error {
	q := fsys.Sequence()
	q.WriteAt(s.control, record, patch.CopyOffset(p.rec.Epoch, 0))
	q.Sync(s.control)
	q.Mark() // the commit point
	q.TakeLock(s.lock, lockApply)
	if err := s.sequenceApply(q, p); err != nil {
		return fmt.Errorf("commit checkpoint %d: %w", p.rec.Epoch, err)
	}
	q.Unlock(s.lock, lockApply)
	handed, err := q.Submit()
	if err != nil { // nothing was touched
		return fmt.Errorf("commit checkpoint %d: %w", p.rec.Epoch, err)
	}
	if err := handed.Marked(); err != nil {
		return s.inDoubt(p.rec, err)
	}
	p.handed = handed
	return nil
}

// sequenceApply is what apply does, in the same order, as steps of a sequence.
func (s *Store) sequenceApply(q vfs.Sequence, p *pending) error {
	rec, g := p.rec, s.o.Geometry
	size := int64(g.PageSize)
	truncate := func(f vfs.File, want int64) error {
		length, _, err := f.Size()
		if err == nil && length != want {
			q.Truncate(f, want)
		}
		return err
	}
	if err := truncate(s.image, int64(rec.NewPages)*size); err != nil {
		return err
	}
	lines, first := p.body.Lines, rec.BodyOffset+g.LinesLen(len(p.body.Lines))
	begun := 0 // lines whose pages the disk was told to begin with
	for i := 0; i < len(lines); {
		run := neighbours(lines[i:])
		q.Copy(s.image, int64(lines[i].Page)*size, s.memory, first+int64(i)*size, int64(run)*size)
		if i += run; i-begun >= chunkPages {
			off := int64(lines[begun].Page) * size
			q.WriteBack(s.image, off, int64(lines[i-1].Page+1)*size-off)
			begun = i
		}
	}
	if err := truncate(s.sums, sumsLen(rec.NewPages)); err != nil {
		return err
	}
	err := s.table.encode(p.chunks(), rec.NewPages, lines, func(b []byte, off int64) error {
		q.WriteAt(s.sums, b, off)
		return nil
	})
	if err != nil {
		return err
	}
	q.WriteAt(s.sums, s.header(rec, false), headerOffset(rec.Epoch))
	q.WriteBack(s.sums, 0, sumsLen(rec.NewPages))
	q.Sync(s.image)
	q.Sync(s.sums)
	return nil
}

// awaitHandOver is Apply of a checkpoint that was handed over. If that failed,
// the next Apply is this process's own.
func (s *Store) awaitHandOver(ctx context.Context, p *pending) error {
	err := p.handed.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("apply checkpoint %d: %w", p.rec.Epoch, err) // it is still at work
	}
	p.handed, p.redo = nil, true
	if err != nil {
		return fmt.Errorf("apply checkpoint %d: %w", p.rec.Epoch, errors.Join(err, s.lock.Unlock(lockApply)))
	}
	s.table.written(p.rec.NewPages)
	s.applied()
	return nil
}
