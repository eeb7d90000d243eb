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
	return verify(ctx, dir, options, &snapshot{defect: defect, progress: progress})
}

// VerifyQuick is Verify without the pages of image.bin: headers, the commit
// record, the table of hashes and its digest, the lengths, and the patch of a
// checkpoint that is not applied yet. A damaged page of the image goes unseen.
func VerifyQuick(ctx context.Context, dir string, options *Options, defect func(*patch.Defect)) (VerifyReport, error) {
	return verify(ctx, dir, options, &snapshot{defect: defect, quick: true})
}

func verify(ctx context.Context, dir string, options *Options, s *snapshot) (VerifyReport, error) {
	s.o, s.ctx = options.withDefaults(), ctx
	var err error
	if s.dir, err = Resolve(s.o.FS, dir); err != nil {
		return VerifyReport{}, err
	}
	if err := storeExists(s.o, s.dir); err != nil {
		return VerifyReport{}, err
	}
	if err := s.take(); err != nil {
		return VerifyReport{}, fmt.Errorf("verify %s: %w", s.dir, err)
	}
	report := VerifyReport{Defects: s.bad, Held: s.held}
	if !s.quick {
		report.Pages = len(s.hashes)
	}
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
