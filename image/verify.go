package image

import (
	"context"
	"fmt"
	"time"

	"loomstore/patch"
)

// VerifyReport is the outcome of Verify.
type VerifyReport struct {
	State   State // of the checkpoint that was verified
	Pages   int   // pages compared with their hashes
	Defects int
	Held    time.Duration // how long an apply of a live writer may have waited
}

// Verify compares every page of the last committed checkpoint with its hash,
// on all cores, and the hashes with the digest of the commit record. It never
// writes and works beside a live writer, whose applies it keeps waiting only
// while it looks again at pages that changed meanwhile. Each defect is told to
// defect, in no particular order; progress, if not nil, hears of pages done.
// The error is about what could not be looked at: ErrNotStore, a vere snapshot
// (patch.ErrMismatch), files that can not be opened or read.
func Verify(ctx context.Context, dir string, options *Options, defect func(*patch.Defect), progress func(done, total int)) (VerifyReport, error) {
	o := options.withDefaults()
	dir, err := Resolve(o.FS, dir)
	if err != nil {
		return VerifyReport{}, err
	}
	if err := storeExists(o, dir); err != nil {
		return VerifyReport{}, err
	}
	s := &snapshot{o: o, ctx: ctx, dir: dir, defect: defect, progress: progress}
	if err := s.take(); err != nil {
		return VerifyReport{}, fmt.Errorf("verify %s: %w", dir, err)
	}
	report := VerifyReport{Pages: len(s.hashes), Defects: s.bad, Held: s.held}
	if s.rec != nil {
		report.State = stateOf(s.rec)
	}
	return report, nil
}

// verifyAll is Verify of the store just opened (Options.Full): the first
// defect is the error.
func (s *Store) verifyAll(ctx context.Context) error {
	var first *patch.Defect
	snap := &snapshot{o: s.o, ctx: ctx, dir: s.dir, defect: func(d *patch.Defect) {
		if first == nil {
			first = d
		}
	}}
	err := snap.take()
	if err == nil && first != nil {
		err = first
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", s.dir, err)
	}
	return nil
}
