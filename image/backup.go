package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// BackupReport is the outcome of Backup and Export.
type BackupReport struct {
	State State         // of the checkpoint that was copied
	Bytes int64         // of image.bin
	Held  time.Duration // how long an apply of a live writer may have waited
}

// Backup makes dst, which must not exist, a store that holds the last
// committed checkpoint of src: the same epoch, under a UUID of its own, so that
// its files can not be mixed up with those of src. A writer may have src open
// and go on. Every page is checked against its hash; a defect ends the backup
// with that *patch.Defect. dst appears, complete and durable, or not at all.
func Backup(ctx context.Context, src, dst string, options *Options, progress func(done, total int)) (BackupReport, error) {
	o := options.withDefaults()
	if ok, err := exists(o.FS, dst); err != nil {
		return BackupReport{}, err
	} else if ok {
		return BackupReport{}, cerrors.WithHint(fmt.Errorf("back up to %s: %w", dst, fs.ErrExist), "give a name that does not exist yet; nothing is overwritten")
	}
	parents, err := makeDirs(o.FS, filepath.Dir(dst))
	if err != nil {
		return BackupReport{}, err
	}
	partial := fmt.Sprintf("%s.partial-%d", filepath.Clean(dst), os.Getpid())
	if err := o.FS.Mkdir(partial, 0o700); err != nil {
		return BackupReport{}, err
	}
	report, err := backupInto(ctx, o, src, partial, progress)
	if err == nil {
		err = o.FS.Rename(partial, dst)
	}
	if err != nil {
		return BackupReport{}, errors.Join(fmt.Errorf("back up %s: %w", src, err), removeAll(o.FS, partial))
	}
	for _, dir := range append([]string{filepath.Dir(dst)}, parents...) {
		if err := o.FS.SyncDir(dir); err != nil {
			return BackupReport{}, fmt.Errorf("back up %s: %w", src, err)
		}
	}
	return report, nil
}

// backupInto fills the directory dir and makes it durable.
func backupInto(ctx context.Context, o *Options, src, dir string, progress func(done, total int)) (BackupReport, error) {
	image, err := o.FS.OpenFile(filepath.Join(dir, patch.ImageFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return BackupReport{}, err
	}
	snap, err := copyOut(ctx, o, src, image, progress)
	if err := errors.Join(err, image.Close()); err != nil {
		return BackupReport{}, err
	}
	rec := *snap.rec
	rec.Store = o.NewUUID()
	rec.OldPages, rec.OldDigest = rec.NewPages, rec.NewDigest
	rec.Lines, rec.BodyOffset, rec.LinesHash, rec.Rewrite = 0, 0, patch.LinesHash(nil), 0
	s := &Store{o: o, dir: dir}
	err = s.establish(&rec, snap.hashes, nil)
	return snap.summary(), errors.Join(err, s.closeFiles())
}

// copyOut copies the last committed checkpoint of src into dst. The first
// defect is the error.
func copyOut(ctx context.Context, o *Options, src string, dst vfs.File, progress func(done, total int)) (*snapshot, error) {
	src, err := Resolve(o.FS, src)
	if err != nil {
		return nil, err
	}
	if err := storeExists(o, src); err != nil {
		return nil, err
	}
	var first *patch.Defect
	snap := &snapshot{o: o, ctx: ctx, dir: src, dst: dst, progress: progress, defect: func(d *patch.Defect) {
		if first == nil {
			first = d
		}
	}}
	if err := snap.take(); err != nil {
		return nil, err
	}
	if first != nil {
		return nil, cerrors.WithHint(error(first), "loomctl verify lists every defect; an older backup may still be whole")
	}
	return snap, nil
}

func (s *snapshot) summary() BackupReport {
	return BackupReport{State: stateOf(s.rec), Bytes: int64(s.rec.NewPages) * int64(s.o.Geometry.PageSize), Held: s.held}
}

// Export writes the last committed checkpoint of src as a snapshot that vere
// opens: image.bin alone, in dst/.urb/chk, which must be empty or missing.
// Pages are checked as in Backup.
func Export(ctx context.Context, src, dst string, options *Options, progress func(done, total int)) (BackupReport, error) {
	o := options.withDefaults()
	chk := filepath.Join(dst, ".urb", "chk")
	parents, err := makeDirs(o.FS, chk)
	if err != nil {
		return BackupReport{}, err
	}
	if names, err := o.FS.ReadDir(chk); err != nil {
		return BackupReport{}, err
	} else if len(names) > 0 {
		return BackupReport{}, cerrors.WithHint(fmt.Errorf("export to %s: it holds %s: %w", chk, names[0].Name(), fs.ErrExist), "export into an empty or new pier; nothing is overwritten")
	}
	name := filepath.Join(chk, patch.ImageFile)
	partial := name + ".partial"
	image, err := o.FS.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return BackupReport{}, err
	}
	snap, err := copyOut(ctx, o, src, image, progress)
	if err == nil {
		err = image.Sync()
	}
	if err = errors.Join(err, image.Close()); err == nil {
		err = o.FS.Rename(partial, name)
	}
	if err != nil {
		return BackupReport{}, errors.Join(fmt.Errorf("export %s: %w", src, err), o.FS.Remove(partial))
	}
	for _, dir := range append([]string{chk}, parents...) {
		if err := o.FS.SyncDir(dir); err != nil {
			return BackupReport{}, fmt.Errorf("export %s: %w", src, err)
		}
	}
	return snap.summary(), nil
}

// removeAll removes a directory of files that Backup made.
func removeAll(fsys vfs.FS, dir string) error {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	errs := []error{}
	for _, n := range names {
		errs = append(errs, fsys.Remove(filepath.Join(dir, n.Name())))
	}
	return errors.Join(append(errs, fsys.Remove(dir))...)
}
