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

// makeDirs makes dir and its missing parents, and returns what it made,
// outermost first: creation syncs the names (W15).
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
	slices.Reverse(missing)
	for i, d := range missing {
		if err := fsys.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, errors.Join(err, removeDirs(fsys, missing[:i]))
		}
	}
	return missing, nil
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

// syncNames makes the names of dir, of what is in it, and of the directories
// that makeDirs made for it durable.
func syncNames(fsys vfs.FS, dir string, made []string) error {
	dirs := []string{dir}
	for _, d := range made {
		dirs = append(dirs, filepath.Dir(d))
	}
	for _, d := range dirs {
		if err := fsys.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

var errNotDirectory = errors.New("not a directory")

// create makes an empty store at epoch 0, in a directory that holds nothing or
// a creation that was cut off.
func (s *Store) create(made []string) error {
	rec := &patch.Record{Store: s.o.NewUUID(), LinesHash: patch.LinesHash(nil)}
	return s.establish(rec, nil, made)
}

// establish makes image.bin, which holds rec's checkpoint and nothing else, a
// store: the other files, everything synced, names included, and only then the
// header, the live mark. Until that is durable the directory is half-created
// or half-made, and Open begins again.
func (s *Store) establish(rec *patch.Record, hashes []uint64, made []string) error {
	anew := os.O_CREATE | os.O_TRUNC
	if err := s.openFiles([4]int{anew, anew, os.O_CREATE, anew}); err != nil {
		return err
	}
	control := make([]byte, patch.ControlSize)
	block := rec.Marshal(s.o.Geometry)
	copy(control[patch.CopyOffset(rec.Epoch, 0):], block)
	copy(control[patch.CopyOffset(rec.Epoch, 1):], block)
	if _, err := s.control.WriteAt(control, 0); err != nil {
		return fmt.Errorf("write %s: %w", patch.ControlFile, s.spaceError(patch.ControlFile, int64(len(control)), err))
	}
	if err := s.allocate(s.memory, patch.MemoryFile, 0, s.o.Geometry.BodyLen(bodyChunk)); err != nil {
		return err
	}
	if _, err := s.sums.WriteAt(make([]byte, tableOffset), 0); err != nil {
		return fmt.Errorf("write %s: %w", patch.SumsFile, s.spaceError(patch.SumsFile, tableOffset, err))
	}
	s.cur.Store(rec)
	s.table = newTable(s.sums, s.o.Geometry, 0)
	s.table.replace(hashes)
	all := make([]int, chunksFor(len(hashes)))
	for c := range all {
		all[c] = c
	}
	if err := s.table.write(all, len(hashes)); err != nil {
		return s.spaceError(patch.SumsFile, sumsLen(len(hashes)), err)
	}
	s.table.written(len(hashes))
	for _, f := range []vfs.File{s.image, s.control, s.memory, s.sums} {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync a new store: %w", err)
		}
	}
	if err := syncNames(s.o.FS, s.dir, made); err != nil {
		return fmt.Errorf("sync a new store: %w", err)
	}
	// The live mark.
	if err := s.writeHeader(rec, true); err != nil {
		return err
	}
	if err := s.sums.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", patch.SumsFile, err)
	}
	s.clean = true
	return nil
}
