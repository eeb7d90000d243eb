package image

import (
	"context"
	"fmt"
	"os"

	"loomstore/patch"
)

// recover carries out the verdict on a store of ours. Everything before the
// first write may fail and change nothing; everything behind it may be cut off
// anywhere and is decided anew by the next Open (R3).
func (s *Store) recover(ctx context.Context, r *reading) error {
	x, v := r.x, r.x.verdict
	// A missing file was judged by what it should hold.
	if err := s.openFiles([4]int{0, os.O_CREATE, os.O_CREATE, os.O_CREATE}); err != nil {
		return err
	}
	// Without a live mark the names too may be in the cache only.
	if r.memory == nil || r.image == nil || x.header == nil {
		if err := s.o.FS.SyncDir(s.dir); err != nil {
			return err
		}
	}
	if v.Step == patch.Nothing {
		s.table = newTable(s.sums, s.o.Geometry, x.header.Pages)
		s.cur.Store(x.control.Best())
		s.clean, s.found = true, true
		s.torn = x.control.Torn(x.header.Epoch + 1)
		return nil
	}
	rec := v.Record
	var lines []patch.Line // none for Proven: the record without them says so
	if v.Step != patch.Proven {
		lines = x.body.Lines
	}
	p := &pending{rec: rec, redo: true, body: patch.NewBody(s.memory, rec, lines, s.o.Geometry)}
	if v.Step == patch.Apply {
		have := r.entries(rec)
		p.all = have < min(rec.OldPages, rec.NewPages)
		s.table = newTable(s.sums, s.o.Geometry, have)
		if err := s.table.load(lines, min(rec.OldPages, rec.NewPages), max(rec.OldPages, rec.NewPages)); err != nil {
			return err
		}
		s.table.commit(lines, rec.OldPages, rec.NewPages)
	} else {
		s.o.Logger.Warn("store repaired", "dir", s.dir, "epoch", rec.Epoch, "reason", v.Reason)
		p.all = true
		s.table = newTable(s.sums, s.o.Geometry, 0)
		s.table.replace(x.hashes)
	}
	pages := make([]int, len(lines))
	for i, l := range lines {
		pages[i] = l.Page
	}
	if err := s.reserveImage(rec, pages); err != nil {
		return err
	}
	if err := s.reserveSums(rec); err != nil {
		return err
	}
	if err := s.rewrite(x.control, rec); err != nil {
		return err
	}
	s.torn = x.control.Torn(rec.Epoch + 1)
	s.cur.Store(rec)
	s.pending = p
	return s.Apply(ctx)
}

// rewrite writes the record again: what was read may be in the cache only, and
// a second sync of it would prove nothing (W5, W6). Each copy is durable before
// the other is touched.
func (s *Store) rewrite(control *patch.Control, rec *patch.Record) error {
	for _, w := range control.Rewrites(rec) {
		rec.Rewrite = w.Number
		off := patch.CopyOffset(rec.Epoch, w.Copy)
		if err := s.control.Renew(off, patch.BlockSize); err != nil {
			return fmt.Errorf("renew the commit record of checkpoint %d: %w", rec.Epoch, err)
		}
		if _, err := s.control.WriteAt(rec.Marshal(s.o.Geometry), off); err != nil {
			return fmt.Errorf("write the commit record of checkpoint %d again: %w", rec.Epoch, err)
		}
		if err := s.control.Sync(); err != nil {
			return fmt.Errorf("sync the commit record of checkpoint %d: %w", rec.Epoch, err)
		}
	}
	return nil
}
