package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// Suffixes of renamed files of vere's. A patch that is in the image is removed
// at the end of the import; what could not be used is kept.
const (
	appliedSuffix = ".applied"
	asideSuffix   = ".aside"
	freshSuffix   = ".fresh"
)

// planVere turns the verdict on a vere directory into a report.
func (r *reading) planVere() (Report, error) {
	v := &r.x.vere
	if v.Action == patch.VereRefuse && r.o.DiscardDamaged && errors.Is(v.Err, patch.ErrDamaged) && r.imageLen > 0 && r.imageLen%int64(patch.Standard.PageSize) == 0 {
		why := v.Err
		*v = patch.VereVerdict{Action: patch.VereImport, Pages: r.imageLen / int64(patch.Standard.PageSize), Discarded: true,
			Reason: "the damaged patch was discarded as asked: " + why.Error()}
		for _, f := range []struct {
			name string
			file vfs.File
		}{{patch.ControlFile, r.control}, {patch.MemoryFile, r.memory}} {
			if f.file != nil {
				v.Aside = append(v.Aside, f.name)
			}
		}
	}
	switch v.Action {
	case patch.VereNone:
		return Report{Action: ActionCreated, Reason: v.Reason}, nil
	case patch.VereRefuse:
		err := v.Err
		if errors.Is(err, patch.ErrDamaged) && r.control != nil {
			err = cerrors.WithHint(err, "nothing was changed; --discard-damaged goes on without the patch, which loses what it holds")
		}
		return Report{Action: ActionRefused, Reason: v.Reason}, err
	}
	report := Report{Action: ActionImported, Pages: int(v.Pages), Reason: v.Reason}
	if v.Discarded {
		report.Action = ActionDiscarded
	}
	if v.Patch != nil {
		report.PatchPages = v.Patch.Len()
	}
	for _, name := range v.Aside {
		report.Kept = append(report.Kept, name+asideSuffix)
	}
	return report, nil
}

// importVere makes a vere directory a store. At every point up to the live
// mark the directory is still one that vere's rules or halfMade finish.
func (s *Store) importVere(ctx context.Context, r *reading, report *Report) error {
	if err := s.importVereLocked(ctx, r, report); err != nil {
		return fmt.Errorf("import %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) importVereLocked(ctx context.Context, r *reading, report *Report) error {
	unlock, err := s.lockPier()
	if err != nil {
		return err
	}
	defer unlock()
	// What was found, and what was found missing, may be in the cache only. A
	// name set aside must not become durable before the rename that led here.
	if err := s.o.FS.SyncDir(s.dir); err != nil {
		return err
	}
	if err := s.setAside(r.x.vere.Aside, report); err != nil {
		return err
	}
	if r.x.vere.Patch != nil {
		if err := s.applyVere(r); err != nil {
			return err
		}
	}
	f, err := openExisting(s.o.FS, s.dir, patch.ImageFile, os.O_RDWR)
	if err != nil {
		return err
	}
	var hashes []uint64
	if f != nil {
		// Nothing else proves these pages: a short read must not pass for zeros.
		scan := s.o.scanner()
		scan.length = int64(r.x.vere.Pages) * int64(s.o.Geometry.PageSize)
		hashes, err = scan.sums(ctx, f, int(r.x.vere.Pages), nil)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	rec := &patch.Record{Store: s.o.NewUUID(), NewPages: len(hashes), Low: int64(len(hashes)) * int64(s.o.Geometry.PageSize),
		NewDigest: digestOf(hashes), LinesHash: patch.LinesHash(nil)}
	rec.OldPages, rec.OldDigest = rec.NewPages, rec.NewDigest
	if err := s.establish(rec, hashes); err != nil {
		return err
	}
	return s.dropApplied()
}

// pierLock names the lock by which vere keeps a second process out of a pier,
// if dir is the snapshot of one.
func pierLock(dir string) (string, bool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil || filepath.Base(dir) != "chk" || filepath.Base(filepath.Dir(dir)) != ".urb" {
		return "", false, err
	}
	return filepath.Join(filepath.Dir(filepath.Dir(dir)), ".vere.lock"), true, nil
}

// lockPier keeps vere out while a pier is imported.
func (s *Store) lockPier() (unlock func(), err error) {
	name, ok, err := pierLock(s.dir)
	if err != nil || !ok {
		return func() {}, err
	}
	before, err := exists(s.o.FS, name)
	if err != nil {
		return nil, err
	}
	lock, err := s.o.FS.OpenLock(name)
	if err != nil {
		return nil, err
	}
	if err := lock.TryLock(0, true); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() {
		if !before {
			_ = s.o.FS.Remove(name) // as vere does when it stops
		}
		_ = lock.Close()
	}, nil
}

// pierInUse is the lock's error if vere is running on the pier. It makes
// nothing, so that it can be asked before anything is changed.
func (o *Options) pierInUse(dir string) error {
	name, ok, err := pierLock(dir)
	if err != nil || !ok {
		return err
	}
	if there, err := exists(o.FS, name); err != nil || !there {
		return err
	}
	lock, err := o.FS.OpenLock(name)
	if err != nil {
		return err
	}
	return errors.Join(lock.TryLock(0, false), lock.Close())
}

// setAside renames files that are not used, so that nothing that can not be
// read is ever deleted (R9).
func (s *Store) setAside(names []string, report *Report) error {
	report.Kept = nil
	for _, name := range names {
		kept := name + asideSuffix
		for n := 1; ; n++ {
			taken, err := exists(s.o.FS, filepath.Join(s.dir, kept))
			if err != nil {
				return err
			}
			if !taken {
				break
			}
			kept = fmt.Sprintf("%s%s.%d", name, asideSuffix, n)
		}
		if err := s.o.FS.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, kept)); err != nil {
			return err
		}
		report.Kept = append(report.Kept, kept)
	}
	if len(names) == 0 {
		return nil
	}
	return s.o.FS.SyncDir(s.dir)
}

// applyVere brings a whole vere patch into the image and renames it, control
// first: a memory.bin alone is a leftover, a control.bin alone would look like
// damage.
func (s *Store) applyVere(r *reading) error {
	image, err := s.open(patch.ImageFile, os.O_RDWR)
	if err != nil {
		return err
	}
	defer image.Close()
	s.image = image
	defer func() { s.image = nil }()
	p := r.x.vere.Patch
	rec := &patch.Record{OldPages: int(r.imageLen / int64(patch.Standard.PageSize)), NewPages: int(p.Pages())}
	pages := make([]int, p.Len())
	for i := range pages {
		pages[i] = int(p.Line(i).Page)
	}
	if err := s.reserveImage(rec, pages); err != nil {
		return err
	}
	if err := s.freshen(r); err != nil {
		return err
	}
	if err := image.Truncate(p.Pages() * int64(patch.Standard.PageSize)); err != nil {
		return err
	}
	page := make([]byte, patch.Standard.PageSize)
	for i, n := range pages {
		if err := p.ReadPage(i, page); err != nil {
			return err
		}
		off := int64(n) * int64(len(page))
		if err := image.Renew(off, int64(len(page))); err != nil {
			return err
		}
		if _, err := image.WriteAt(page, off); err != nil {
			return err
		}
	}
	if err := image.Sync(); err != nil {
		return err
	}
	for _, name := range []string{patch.ControlFile, patch.MemoryFile} {
		path := filepath.Join(s.dir, name)
		if err := s.o.FS.Rename(path, path+appliedSuffix); err != nil {
			return err
		}
		if err := s.o.FS.SyncDir(s.dir); err != nil {
			return err
		}
	}
	return nil
}

// freshen writes both patch files to fresh inodes and makes them durable with
// their names: the ones found may be in the cache only (W5, W6).
func (s *Store) freshen(r *reading) error {
	names := []string{patch.MemoryFile, patch.ControlFile}
	for i, from := range []struct {
		file vfs.File
		size int64
	}{{r.memory, r.memoryLen}, {r.control, r.controlLen}} {
		if err := s.copyFresh(names[i]+freshSuffix, from.file, from.size); err != nil {
			return errors.Join(err, s.removeFresh(names))
		}
	}
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		if err := s.o.FS.Rename(path+freshSuffix, path); err != nil {
			return err
		}
	}
	return s.o.FS.SyncDir(s.dir)
}

func (s *Store) copyFresh(name string, from vfs.File, size int64) error {
	f, err := s.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	buf := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-off)]
		if _, err = from.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
			break
		}
		if _, err = f.WriteAt(buf, off); err != nil {
			err = s.spaceError(name, size, err)
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (s *Store) removeFresh(names []string) error {
	var errs []error
	for _, name := range names {
		if err := s.o.FS.Remove(filepath.Join(s.dir, name+freshSuffix)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dropApplied removes what an import left: patches that are in the image, and
// copies that were never used.
func (s *Store) dropApplied() error {
	removed := false
	for _, name := range []string{patch.ControlFile + appliedSuffix, patch.MemoryFile + appliedSuffix, patch.ControlFile + freshSuffix, patch.MemoryFile + freshSuffix} {
		switch err := s.o.FS.Remove(filepath.Join(s.dir, name)); {
		case err == nil:
			removed = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !removed {
		return nil
	}
	return s.o.FS.SyncDir(s.dir)
}
