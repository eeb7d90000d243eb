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
	Copy  patch.UUID    // of the new store; zero for Export
	Bytes int64         // of image.bin
	Held  time.Duration // how long an apply of a live writer may have waited
	// Shared says that image.bin shares its blocks with the source's (reflink),
	// Unread that no page was compared with its hash (Options.Unread).
	Shared, Unread bool
}

// Backup makes dst, which must not exist, a store that holds the last
// committed checkpoint of src: the same epoch, under a UUID of its own, so that
// its files can not be mixed up with those of src. A writer may have src open
// and go on. Where the file system can share blocks (reflink) no page is copied,
// else holes stay holes. Every page of the copy is checked against its hash
// (but see Options.Unread); a defect ends the backup with that *patch.Defect. dst appears, complete and durable, or not at all.
func Backup(ctx context.Context, src, dst string, options *Options, progress func(done, total int)) (BackupReport, error) {
	o := options.withDefaults()
	if ok, err := exists(o.FS, dst); err != nil {
		return BackupReport{}, err
	} else if ok {
		return BackupReport{}, cerrors.WithHint(fmt.Errorf("back up to %s: %w", dst, fs.ErrExist), "give a name that does not exist yet; nothing is overwritten")
	}
	report, err := copyStore(ctx, o, src, dst, false, progress)
	if err != nil {
		return BackupReport{}, fmt.Errorf("back up %s: %w", src, err)
	}
	return report, nil
}

// Restore is Backup in the other direction: dst may also be an empty directory.
func Restore(ctx context.Context, src, dst string, options *Options, progress func(done, total int)) (BackupReport, error) {
	o := options.withDefaults()
	names, err := o.FS.ReadDir(dst)
	empty := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return BackupReport{}, err
	}
	if len(names) > 0 {
		return BackupReport{}, cerrors.WithHint(fmt.Errorf("restore to %s: it holds %s: %w", dst, names[0].Name(), fs.ErrExist), "give an empty directory or a name that does not exist yet; nothing is overwritten")
	}
	if empty {
		if err := isDirectory(o.FS, dst); err != nil {
			return BackupReport{}, err
		}
	}
	report, err := copyStore(ctx, o, src, dst, empty, progress)
	if err != nil {
		return BackupReport{}, fmt.Errorf("restore %s: %w", src, err)
	}
	return report, nil
}

// isDirectory refuses the symbolic link to an empty directory that dst may be,
// since the copy takes its place: it would lie where the link is. So would one
// in a directory that has no name of its own there.
func isDirectory(fsys vfs.FS, dst string) error {
	dst = filepath.Clean(dst)
	names, err := fsys.ReadDir(filepath.Dir(dst))
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Name() == filepath.Base(dst) && n.IsDir() {
			return nil
		}
	}
	return cerrors.WithHint(fmt.Errorf("restore to %s: not the name of a directory: %w", dst, fs.ErrExist), "give the directory itself by its name, not a link to it")
}

// copyStore copies under a temporary name beside dst, and renames when the
// copy is whole and durable. If dst is an empty directory it makes room then;
// whatever came to be in it meanwhile is kept, and the copy fails.
func copyStore(ctx context.Context, o *Options, src, dst string, empty bool, progress func(done, total int)) (_ BackupReport, err error) {
	src, err = source(o, src)
	if err != nil {
		return BackupReport{}, err
	}
	dst = filepath.Clean(dst)
	made, err := makeDirs(o.FS, filepath.Dir(dst))
	if err != nil {
		return BackupReport{}, err
	}
	partial, err := makePartial(o.FS, dst)
	if err != nil {
		return BackupReport{}, errors.Join(err, removeDirs(o.FS, made))
	}
	report, err := backupInto(ctx, o, src, partial, progress)
	if err == nil && empty {
		err = o.FS.Remove(dst)
	}
	if err == nil {
		err = o.FS.Rename(partial, dst)
	}
	if err != nil {
		return BackupReport{}, errors.Join(err, removeAll(o.FS, partial), removeDirs(o.FS, made))
	}
	return report, syncNames(o.FS, filepath.Dir(dst))
}

// makePartial makes the directory in which a copy comes to be. A killed copy
// leaves one, which may be that of a process of the same id elsewhere at work:
// it is left alone.
func makePartial(fsys vfs.FS, dst string) (string, error) {
	partial := fmt.Sprintf("%s.partial-%d", dst, os.Getpid())
	name := partial
	for n := 1; ; n++ {
		if err := fsys.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
			return name, err
		}
		name = fmt.Sprintf("%s.%d", partial, n)
	}
}

// backupInto fills the directory dir and makes it durable.
func backupInto(ctx context.Context, o *Options, src, dir string, progress func(done, total int)) (BackupReport, error) {
	image, err := o.FS.OpenFile(filepath.Join(dir, patch.ImageFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return BackupReport{}, err
	}
	snap, err := copyOut(ctx, o, src, dir, image, progress)
	if err := errors.Join(err, image.Close()); err != nil {
		return BackupReport{}, err
	}
	rec := *snap.rec
	rec.Store = o.NewUUID()
	rec.OldPages, rec.OldDigest = rec.NewPages, rec.NewDigest
	rec.Lines, rec.BodyOffset, rec.LinesHash, rec.Rewrite = 0, 0, patch.LinesHash(nil), 0
	s := &Store{o: o, dir: dir}
	err = s.establish(&rec, snap.hashes)
	report := snap.summary()
	report.Copy = rec.Store
	return report, errors.Join(err, s.closeFiles())
}

// source resolves the directory to copy from: nothing is made for a copy of
// nothing.
func source(o *Options, src string) (string, error) {
	src, err := Resolve(o.FS, src)
	if err != nil {
		return "", err
	}
	return src, storeExists(o, src)
}

// copyOut copies the last committed checkpoint of src, resolved, into dst, a
// file in dstDir. The first defect is the error.
func copyOut(ctx context.Context, o *Options, src, dstDir string, dst vfs.File, progress func(done, total int)) (*snapshot, error) {
	var first *patch.Defect
	snap := &snapshot{o: o, ctx: ctx, dir: src, dst: dst, dstDir: dstDir, progress: progress, defect: func(d *patch.Defect) {
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
	return BackupReport{State: stateOf(s.rec), Bytes: s.length(), Held: s.held, Shared: s.shared, Unread: s.shared && s.o.Unread}
}

const exportElsewhere = "export into an empty or new pier; nothing is overwritten"

// Export writes the last committed checkpoint of src as a snapshot that vere
// opens: image.bin alone, in dst/.urb/chk, which must be empty or missing. In a
// store's own directory it would be taken for that store from then on (Resolve),
// so that is refused.
// Pages are checked as in Backup.
func Export(ctx context.Context, src, dst string, options *Options, progress func(done, total int)) (BackupReport, error) {
	o := options.withDefaults()
	if err := storeExists(o, dst); err == nil {
		return BackupReport{}, cerrors.WithHint(fmt.Errorf("export to %s: it holds a store: %w", dst, fs.ErrExist), exportElsewhere)
	} else if !errors.Is(err, ErrNotStore) {
		return BackupReport{}, fmt.Errorf("export to %s: %w", dst, err)
	}
	report, err := export(ctx, o, src, filepath.Join(dst, ".urb", "chk"), progress)
	if err != nil {
		return BackupReport{}, fmt.Errorf("export %s: %w", src, err)
	}
	return report, nil
}

func export(ctx context.Context, o *Options, src, chk string, progress func(done, total int)) (_ BackupReport, err error) {
	if src, err = source(o, src); err != nil {
		return BackupReport{}, err
	}
	made, err := makeDirs(o.FS, chk)
	if err != nil {
		return BackupReport{}, err
	}
	if names, err := o.FS.ReadDir(chk); err != nil {
		return BackupReport{}, err
	} else if len(names) > 0 {
		return BackupReport{}, cerrors.WithHint(fmt.Errorf("%s holds %s: %w", chk, names[0].Name(), fs.ErrExist), exportElsewhere)
	}
	name := filepath.Join(chk, patch.ImageFile)
	partial := name + ".partial"
	image, err := o.FS.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return BackupReport{}, errors.Join(err, removeDirs(o.FS, made))
	}
	snap, err := copyOut(ctx, o, src, chk, image, progress)
	if err == nil {
		err = forVere(snap.rec)
	}
	if err == nil {
		err = image.Sync()
	}
	if err = errors.Join(err, image.Close()); err == nil {
		err = o.FS.Rename(partial, name)
	}
	if err != nil {
		return BackupReport{}, errors.Join(err, o.FS.Remove(partial), removeDirs(o.FS, made))
	}
	return snap.summary(), syncNames(o.FS, chk)
}

// forVere refuses an image that vere has no room for.
func forVere(rec *patch.Record) error {
	if rec.NewPages <= patch.VereMaxPages {
		return nil
	}
	return &patch.Defect{Class: patch.ErrMismatch, File: patch.ImageFile, Page: -1, Offset: -1,
		Want: fmt.Sprintf("at most %d pages", patch.VereMaxPages), Got: fmt.Sprintf("%d pages", rec.NewPages), Reason: "too large for vere"}
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
