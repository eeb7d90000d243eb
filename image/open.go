package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// Action is what recovery did, or would do.
type Action string

// The actions. Refused is an error of Open and Examine, never in a Report they
// return.
const (
	ActionNone      Action = "none"      // nothing to do
	ActionCreated   Action = "created"   // there was no store
	ActionApplied   Action = "applied"   // a patch was brought into the image
	ActionImported  Action = "imported"  // a vere snapshot became a store
	ActionDiscarded Action = "discarded" // as imported, without a patch that never committed
	ActionRefused   Action = "refused"
)

// Report is what Open did or Examine expects Open to do.
type Report struct {
	Action     Action
	Epoch      uint64
	Pages      int      // of the image afterwards
	PatchPages int      // pages that were or are to be written from a patch
	Kept       []string // files renamed aside, by their new names
	Reason     string
}

// Open takes the store's lock, recovers, and returns the store at its last
// committed checkpoint, applied. What is in dir decides: a store of ours, a
// vere snapshot, which becomes one, or nothing, which with Options.Create
// becomes an empty one. A refusal changes nothing.
//
// Errors: ErrNotStore; vfs.ErrLocked; patch.ErrDamaged and patch.ErrMismatch,
// as *patch.Defect where one file is meant; ErrNoSpace, which freeing space
// heals (R8); whatever the file system says.
func Open(ctx context.Context, dir string, options *Options) (_ *Store, _ Report, err error) {
	o := options.withDefaults()
	s := &Store{o: o}
	if s.dir, err = Resolve(o.FS, dir); err != nil {
		return nil, Report{}, err
	}
	defer func() {
		if err == nil {
			return
		}
		if also := s.closeFiles(); also != nil { // a Join without need hides the hint
			err = errors.Join(err, also)
		}
	}()
	if o.Create {
		if _, err := makeDirs(o.FS, s.dir); err != nil {
			return nil, Report{}, err
		}
	} else if err := storeExists(o, s.dir); err != nil {
		return nil, Report{}, err
	}
	if report, err := refuseUnlocked(ctx, o, s.dir); err != nil {
		return nil, report, err
	}
	if s.lock, err = lockStoreDir(o.FS, s.dir, true); err != nil {
		return nil, Report{}, err
	}
	r, err := examine(ctx, o, s.dir)
	if err != nil {
		return nil, Report{}, err
	}
	defer r.close()
	report, err := r.plan(s.dir)
	if err != nil {
		return nil, report, err
	}
	// Only now, so that a refusal leaves the lock file too as it was.
	if err := s.lock.SetOwner(os.Getpid()); err != nil {
		return nil, report, err
	}
	if err := s.carryOut(ctx, r, &report); err != nil {
		return nil, report, err
	}
	if o.Full {
		if err := s.verifyAll(ctx); err != nil {
			return nil, report, err
		}
	}
	o.Logger.Info("store open", "dir", s.dir, "action", report.Action, "epoch", report.Epoch, "pages", report.Pages, "reason", report.Reason)
	return s, report, nil
}

// refuseUnlocked refuses a directory that has no lock file before Open would
// make one: a refusal changes nothing, the list of files included. What it
// accepts is looked at again under the lock.
func refuseUnlocked(ctx context.Context, o *Options, dir string) (Report, error) {
	name := filepath.Join(dir, LockFile)
	if locked, err := exists(o.FS, name); locked || err != nil {
		return Report{}, err
	}
	if err := storeExists(o, dir); errors.Is(err, ErrNotStore) {
		return Report{}, nil // to be created
	} else if err != nil {
		return Report{}, err
	}
	report, err := look(ctx, o, dir)
	if err == nil {
		return Report{}, nil
	}
	// Somebody may have opened the store meanwhile and be at work on it.
	if locked, statErr := exists(o.FS, name); locked && statErr == nil {
		return Report{}, nil
	}
	return report, err
}

// look examines dir and plans.
func look(ctx context.Context, o *Options, dir string) (Report, error) {
	r, err := examine(ctx, o, dir)
	if err != nil {
		return Report{}, err
	}
	defer r.close()
	report, err := r.plan(dir)
	if err == nil && r.x.kind == kindVere {
		err = o.pierInUse(dir)
	}
	return report, err
}

// Examine says what Open would do, and does nothing. It writes nothing and
// creates no file; where there is a lock file it shares the store's lock
// meanwhile, which keeps an owner out.
func Examine(ctx context.Context, dir string, options *Options) (Report, error) {
	o := options.withDefaults()
	dir, err := Resolve(o.FS, dir)
	if err != nil {
		return Report{}, err
	}
	if err := storeExists(o, dir); err != nil {
		return Report{}, err
	}
	if locked, err := exists(o.FS, filepath.Join(dir, LockFile)); err != nil {
		return Report{}, err
	} else if locked {
		lock, err := lockStoreDir(o.FS, dir, false)
		if err != nil {
			return Report{}, err
		}
		defer lock.Close()
	}
	return look(ctx, o, dir)
}

// storeExists is ErrNotStore for a directory that is missing or holds no file
// of a store, looked at without a lock so that nothing is created for it.
func storeExists(o *Options, dir string) error {
	if ok, err := exists(o.FS, dir); err != nil {
		return err
	} else if ok {
		for _, name := range []string{patch.ControlFile, patch.MemoryFile, patch.ImageFile, patch.SumsFile, "north.bin", "south.bin"} {
			if ok, err := exists(o.FS, filepath.Join(dir, name)); ok || err != nil {
				return err
			}
		}
	}
	return cerrors.WithHint(fmt.Errorf("%s: %w", dir, ErrNotStore), "give the directory that holds image.bin, or a pier with .urb/chk in it")
}

func lockStoreDir(fsys vfs.FS, dir string, exclusive bool) (vfs.Lock, error) {
	lock, err := fsys.OpenLock(filepath.Join(dir, LockFile))
	if err != nil {
		return nil, linkHint(err)
	}
	if err := lock.TryLock(lockStore, exclusive); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// plan turns what was found into a report, or into the error of a refusal.
func (r *reading) plan(dir string) (Report, error) {
	x := r.x
	report := Report{Action: ActionNone}
	switch x.kind {
	case kindEmpty:
		report.Action, report.Reason = ActionCreated, "nothing was here"
	case kindHalfCreated:
		report.Action, report.Reason = ActionCreated, "a creation was cut off before its end"
	case kindHalfMade:
		report.Action, report.Pages, report.Reason = ActionImported, x.verdict.Record.NewPages, "an import was cut off just before its end; the image is proven"
	case kindNative:
		v := x.verdict
		report.Reason = v.Reason
		if v.Step == patch.Refuse {
			report.Action = ActionRefused
			if x.header != nil {
				report.Epoch = x.header.Epoch
			}
			return report, fmt.Errorf("%s: %w", dir, v.Err)
		}
		if v.Step == patch.Nothing {
			report.Epoch, report.Pages = x.header.Epoch, x.header.Pages
		} else {
			report.Action, report.Epoch, report.Pages, report.PatchPages = ActionApplied, v.Record.Epoch, v.Record.NewPages, v.Record.Lines
		}
	case kindVere:
		var err error
		if report, err = r.planVere(); err != nil {
			return report, fmt.Errorf("%s: %w", dir, err)
		}
	}
	if report.Action == ActionCreated && !r.o.Create {
		return Report{}, fmt.Errorf("%s: %w: %s", dir, ErrNotStore, report.Reason)
	}
	if err := r.o.fits(report.Pages); err != nil {
		return Report{Action: ActionRefused, Reason: err.Error()}, fmt.Errorf("%s: %w", dir, err)
	}
	return report, nil
}

// carryOut does what the examination found to be done and leaves s open at the
// last committed checkpoint, applied.
func (s *Store) carryOut(ctx context.Context, r *reading, report *Report) error {
	x := r.x
	switch x.kind {
	case kindHalfCreated:
		if err := s.forgetHeader(); err != nil {
			return err
		}
		return s.create()
	case kindEmpty:
		return s.create()
	case kindVere:
		return s.importVere(ctx, r, report)
	}
	if err := s.recover(ctx, r); err != nil {
		return err
	}
	if s.cur.Load().Epoch == 0 {
		return s.dropApplied()
	}
	return nil
}
