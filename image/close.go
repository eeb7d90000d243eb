package image

import (
	"context"
	"errors"
	"fmt"

	"loomstore/patch"
)

// Close marks the store as closed in order, if its last checkpoint is applied
// and not in doubt, cuts memory.bin to Options.PatchKeep, and gives the lock
// back. A store that was not closed in order is recovered by the next Open;
// nothing is lost by that. Nobody may use s meanwhile or afterwards.
func (s *Store) Close(ctx context.Context) error {
	var err error
	if s.pending != nil && s.pending.handed != nil {
		// The files, and the lock above all, stay open until it is done.
		err = s.Apply(context.WithoutCancel(ctx))
	}
	err = errors.Join(err, s.markClean(ctx))
	return errors.Join(err, s.closeFiles())
}

func (s *Store) markClean(ctx context.Context) error {
	if s.clean || s.doubt != nil || s.pending != nil {
		return nil
	}
	// A backup compares the header with the table: not while it looks.
	if err := s.lock.Lock(ctx, lockApply, true); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	if err := s.writeHeader(s.cur.Load(), true, false); err != nil {
		return err
	}
	if err := s.sums.Sync(); err != nil {
		return fmt.Errorf("close the store: sync %s: %w", patch.SumsFile, err)
	}
	s.clean = true
	// Only now: under a CLEAN header nobody needs the body any more.
	length, _, err := s.memory.Size()
	if err == nil && s.o.PatchKeep >= 0 && length > s.o.PatchKeep {
		err = s.memory.Truncate(s.o.PatchKeep)
	}
	if err != nil {
		return fmt.Errorf("close the store: shrink %s: %w", patch.MemoryFile, err)
	}
	return s.lock.Unlock(lockApply)
}
