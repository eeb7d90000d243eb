package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// makeDirs makes dir and its missing parents, each durable before the next is
// made in it (W15), and returns what it made, outermost first. A process that
// is killed on the way leaves at most one directory whose own name is not
// durable, the deepest: so whoever finds directories begins by syncing the one
// above.
func makeDirs(fsys vfs.FS, dir string) ([]string, error) {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		info, err := fsys.Stat(d)
		if err == nil && !info.IsDir() {
			return nil, &fs.PathError{Op: "open store", Path: d, Err: errNotDirectory}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	slices.Reverse(missing)
	if err := syncName(fsys, filepath.Dir(missing[0])); err != nil {
		return nil, err
	}
	// What somebody else has put there meanwhile, or a symbolic link to nothing,
	// is not made here, and so not removed either.
	var made []string
	for _, d := range missing {
		err := fsys.Mkdir(d, 0o700)
		if err == nil {
			made = append(made, d)
		}
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = fsys.SyncDir(filepath.Dir(d))
		}
		if err != nil {
			return nil, errors.Join(err, removeDirs(fsys, made))
		}
	}
	return made, nil
}

// removeDirs removes what makeDirs made, as far as it is empty.
func removeDirs(fsys vfs.FS, made []string) error {
	for _, d := range slices.Backward(made) {
		if err := fsys.Remove(d); errors.Is(err, syscall.ENOTEMPTY) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// syncNames makes the names in dir durable, and dir's own.
func syncNames(fsys vfs.FS, dir string) error {
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	return syncName(fsys, dir)
}

// syncName makes durable the name of a directory that was found. If the one
// above may not be read, it is nothing that a killed process of ours has made.
func syncName(fsys vfs.FS, dir string) error {
	err := fsys.SyncDir(filepath.Dir(dir))
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

var errNotDirectory = errors.New("not a directory")

// create makes an empty store at epoch 0, in a directory that holds nothing or
// a creation that was cut off.
func (s *Store) create() error {
	if err := syncName(s.o.FS, s.dir); err != nil {
		return err
	}
	rec := &patch.Record{Store: s.o.NewUUID(), LinesHash: patch.LinesHash(nil)}
	return s.establish(rec, nil)
}

// forgetHeader makes it durable that there is no header. None was seen, but a
// process that was killed while it renewed one leaves it on the medium, where
// it would vouch for the files that the creation begins anew.
func (s *Store) forgetHeader() error {
	f, err := s.open(patch.SumsFile, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// firstPages is how many pages memory.bin has room for from the beginning.
const firstPages = 64

// establish makes image.bin, which holds rec's checkpoint and nothing else, a
// store: the other files, everything synced, names included, and only then the
// header, the live mark. Until that is durable the directory is half-created
// or half-made, and Open begins again.
func (s *Store) establish(rec *patch.Record, hashes []uint64) error {
	anew := os.O_CREATE | os.O_TRUNC
	if err := s.openFiles([4]int{anew, anew, os.O_CREATE, anew}); err != nil {
		return err
	}
	// Neither the other slot nor, before the live mark, a header is written,
	// not even with zeros: whatever a power cut makes of the bytes in flight,
	// these are zeros, and say that no checkpoint was begun.
	if err := s.control.Truncate(patch.ControlSize); err != nil {
		return fmt.Errorf("resize %s: %w", patch.ControlFile, err)
	}
	block := rec.Marshal(s.o.Geometry)
	if _, err := s.control.WriteAt(append(block, block...), patch.CopyOffset(rec.Epoch, 0)); err != nil {
		return fmt.Errorf("write %s: %w", patch.ControlFile, s.spaceError(patch.ControlFile, patch.ControlSize, err))
	}
	if err := s.allocate(s.memory, patch.MemoryFile, 0, s.o.Geometry.BodyLen(firstPages)); err != nil {
		return err
	}
	if err := s.sums.Truncate(tableOffset); err != nil {
		return fmt.Errorf("resize %s: %w", patch.SumsFile, err)
	}
	s.cur.Store(rec)
	s.table = newTable(s.sums, s.o.Geometry, 0)
	s.table.replace(hashes)
	all := make([]int, chunksFor(len(hashes)))
	for c := range all {
		all[c] = c
	}
	if err := s.table.write(all, len(hashes), false); err != nil {
		return s.spaceError(patch.SumsFile, sumsLen(len(hashes)), err)
	}
	s.table.written(len(hashes))
	for _, f := range []vfs.File{s.image, s.control, s.memory, s.sums} {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync a new store: %w", err)
		}
	}
	if err := s.o.FS.SyncDir(s.dir); err != nil {
		return fmt.Errorf("sync a new store: %w", err)
	}
	// The live mark.
	if err := s.writeHeader(rec, true, false); err != nil {
		return err
	}
	if err := s.sums.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", patch.SumsFile, err)
	}
	s.clean = true
	return nil
}
