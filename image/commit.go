package image

import (
	"errors"
	"fmt"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// Commit does step 4 of the protocol: it makes the staged checkpoint the
// store's state. When it returns nil the checkpoint is durable. The checkpoint
// before must have been applied.
//
// An error that wraps ErrInDoubt leaves open whether the checkpoint is
// durable: no further one is possible, and Open decides. Any other error
// changed nothing.
func (s *Store) Commit(st *Staged) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	if s.doubt != nil {
		return s.doubt
	}
	if !s.Applied() {
		panic("image: Commit before the last checkpoint was applied")
	}
	rec, lines := st.rec, st.body.Lines
	if err := s.table.load(lines, min(rec.OldPages, rec.NewPages), max(rec.OldPages, rec.NewPages)); err != nil {
		return fmt.Errorf("commit checkpoint %d: %w", rec.Epoch, err)
	}
	digest, err := s.newDigest(rec, lines)
	if err != nil {
		return fmt.Errorf("commit checkpoint %d: %w", rec.Epoch, err)
	}
	rec.NewDigest = digest

	p := &pending{rec: rec, body: st.body}
	if err := s.writeRecord(p); err != nil {
		return err
	}
	// The commit point is behind us: from here on nothing may fail.
	s.table.commit(lines, rec.OldPages, rec.NewPages)
	s.cur.Store(rec)
	s.mu.Lock()
	s.pending = p
	s.mu.Unlock()
	return nil
}

// writeRecord makes both copies of the record durable. Where the file system
// takes sequences, the apply is handed over with them.
func (s *Store) writeRecord(p *pending) error {
	block := p.rec.Marshal(s.o.Geometry)
	record := append(block, block...)
	if fsys, ok := s.o.FS.(vfs.Sequencer); ok {
		err := s.handOver(fsys, p, record)
		if !errors.Is(err, vfs.ErrTooLarge) {
			return err
		}
	}
	if _, err := s.control.WriteAt(record, patch.CopyOffset(p.rec.Epoch, 0)); err != nil {
		return s.inDoubt(p.rec, err)
	}
	if err := s.control.Sync(); err != nil {
		return s.inDoubt(p.rec, err)
	}
	return nil
}

func (s *Store) inDoubt(rec *patch.Record, err error) error {
	s.doubt = fmt.Errorf("%w: writing the commit record of checkpoint %d: %w", ErrInDoubt, rec.Epoch, err)
	return s.doubt
}

// newDigest is the table digest after the checkpoint: per dirty page one
// subtraction and one addition, whatever the size of the image.
func (s *Store) newDigest(rec *patch.Record, lines []patch.Line) (patch.Digest, error) {
	d := rec.OldDigest
	for p := rec.NewPages; p < rec.OldPages; p++ {
		old, err := s.table.get(p)
		if err != nil {
			return d, err
		}
		d = d.Sub(p, old)
	}
	next := rec.OldPages // the first page of the growth not yet counted
	for _, l := range lines {
		if l.Page < rec.OldPages {
			old, err := s.table.get(l.Page)
			if err != nil {
				return d, err
			}
			d = d.Sub(l.Page, old)
		}
		for ; next < l.Page; next++ {
			d = d.Add(next, s.table.zeroHash)
		}
		next = max(next, l.Page+1)
		d = d.Add(l.Page, l.Hash)
	}
	for ; next < rec.NewPages; next++ {
		d = d.Add(next, s.table.zeroHash)
	}
	return d, nil
}
