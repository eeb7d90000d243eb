package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// makeDirs makes dir and its missing parents, and returns the directories in
// which a name was made: creation syncs them (W15).
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
	var parents []string
	for i := len(missing) - 1; i >= 0; i-- {
		if err := fsys.Mkdir(missing[i], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		parents = append(parents, filepath.Dir(missing[i]))
	}
	return parents, nil
}

var errNotDirectory = errors.New("not a directory")

// create makes an empty store at epoch 0, in a directory that holds nothing or
// a creation that was cut off.
func (s *Store) create(parents []string) error {
	rec := &patch.Record{Store: s.o.NewUUID(), LinesHash: patch.LinesHash(nil)}
	return s.establish(rec, nil, parents)
}

// establish makes image.bin, which holds rec's checkpoint and nothing else, a
// store: the other files, everything synced, names included, and only then the
// header, the live mark. Until that is durable the directory is half-created
// or half-made, and Open begins again.
func (s *Store) establish(rec *patch.Record, hashes []uint64, parents []string) error {
	anew := os.O_CREATE | os.O_TRUNC
	if err := s.openFiles([4]int{anew, anew, os.O_CREATE, anew}); err != nil {
		return err
	}
	control := make([]byte, patch.ControlSize)
	block := rec.Marshal(s.o.Geometry)
	copy(control[patch.CopyOffset(rec.Epoch, 0):], block)
	copy(control[patch.CopyOffset(rec.Epoch, 1):], block)
	if _, err := s.control.WriteAt(control, 0); err != nil {
		return fmt.Errorf("write %s: %w", patch.ControlFile, spaceError(patch.ControlFile, int64(len(control)), err))
	}
	if err := s.allocate(s.memory, patch.MemoryFile, 0, s.o.Geometry.BodyLen(bodyChunk)); err != nil {
		return err
	}
	if _, err := s.sums.WriteAt(make([]byte, tableOffset), 0); err != nil {
		return fmt.Errorf("write %s: %w", patch.SumsFile, spaceError(patch.SumsFile, tableOffset, err))
	}
	s.cur.Store(rec)
	s.table = newTable(s.sums, s.o.Geometry, 0)
	s.table.replace(hashes)
	all := make([]int, chunksFor(len(hashes)))
	for c := range all {
		all[c] = c
	}
	if err := s.table.write(all, len(hashes)); err != nil {
		return spaceError(patch.SumsFile, sumsLen(len(hashes)), err)
	}
	s.table.written(len(hashes))
	for _, f := range []vfs.File{s.image, s.control, s.memory, s.sums} {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync a new store: %w", err)
		}
	}
	for _, dir := range append([]string{s.dir}, parents...) {
		if err := s.o.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("sync a new store: %w", err)
		}
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
