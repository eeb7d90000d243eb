package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// LockFile is the name of the lock file in a store's directory.
const LockFile = "lock"

// Bytes of the lock file: who owns the store, and apply against backup.
const (
	lockStore = 0
	lockApply = 1
)

// Store is an open store. Its lock is held until Close.
type Store struct {
	o    *Options
	dir  string
	lock vfs.Lock

	control, memory, image, sums vfs.File

	table *table
	cur   atomic.Pointer[patch.Record] // the last committed checkpoint
	doubt error                        // not nil: no further checkpoint (R4)
	found bool                         // the header was found CLEAN, perhaps in the cache only
	sound span                         // of memory.bin: this process has written and synced it
	// sparse: the image may have holes. reserved says where it has none.
	sparse   bool
	reserved reserved
	torn     []int64 // copies of the next record's slot that are left of a commit cut off
	// copies says that image.bin can not share blocks with memory.bin. Apply's.
	copies bool

	// committing is held by Commit. Whoever holds it has an image of which
	// only the pages of pending change.
	committing sync.Mutex

	mu      sync.Mutex
	pending *pending // committed, not yet known to be in the image
	clean   bool     // the header on disk says CLEAN
}

// pending is a committed patch whose apply has not returned success.
type pending struct {
	rec  *patch.Record
	body *patch.Body
	all  bool // every entry of sums.bin has to be written, not the lines' only
	redo bool // not the first attempt, in this process or another

	handed vfs.Submitted // the apply, if somebody else is at it
}

// State describes the last committed checkpoint.
type State struct {
	Store  patch.UUID
	Epoch  uint64
	Pages  int
	Low    int64
	Digest patch.Digest
	App    []byte
}

// State returns the last committed checkpoint. App is the caller's to keep,
// not to change.
func (s *Store) State() State { return stateOf(s.cur.Load()) }

func stateOf(r *patch.Record) State {
	return State{Store: r.Store, Epoch: r.Epoch, Pages: r.NewPages, Low: r.Low, Digest: r.NewDigest, App: r.App}
}

// Pages returns the page count of the last committed checkpoint.
func (s *Store) Pages() int { return s.cur.Load().NewPages }

// Dir returns the directory that holds the files: the one given to Open, or
// .urb/chk inside it.
func (s *Store) Dir() string { return s.dir }

// Applied reports whether image.bin durably holds the last committed
// checkpoint.
func (s *Store) Applied() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending == nil
}

// InBody reports whether page has to be read from the body: it is part of a
// committed checkpoint that is not known to be in image.bin.
func (s *Store) InBody(page int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		return false
	}
	_, ok := s.pending.body.Find(page)
	return ok
}

// Unapplied returns the pages of the committed checkpoint that is not known to
// be in image.bin.
func (s *Store) Unapplied() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		return nil
	}
	pages := make([]int, len(s.pending.body.Lines))
	for i, line := range s.pending.body.Lines {
		pages[i] = line.Page
	}
	return pages
}

// Image returns image.bin for mapping and reading. Nobody but Apply writes it.
func (s *Store) Image() vfs.File { return s.image }

// Hash returns the hash that page has in the last committed checkpoint. Page
// is below State().Pages.
func (s *Store) Hash(page int) (uint64, error) { return s.table.get(page) }

// ReadPage reads page of the last committed checkpoint into dst: from the body
// while that is not applied, else from image.bin (R11). What it returns has the
// right hash; a page that has not is a *patch.Defect.
func (s *Store) ReadPage(page int, dst []byte) error {
	size := s.o.Geometry.PageSize
	dst = dst[:size]
	s.mu.Lock()
	p := s.pending
	s.mu.Unlock()
	if p != nil {
		if i, ok := p.body.Find(page); ok {
			return p.body.ReadPages(i, 1, dst)
		}
	}
	want, err := s.table.get(page)
	if err != nil {
		return err
	}
	off := int64(page) * int64(size)
	if length, _, err := s.image.Size(); err != nil {
		return fmt.Errorf("read page %d: %w", page, err)
	} else if off >= length && p != nil {
		clear(dst) // the image has not grown yet
	} else if off+int64(size) > length {
		whole := int64(s.Pages()) * int64(size)
		return lengthDefect(patch.ImageFile, whole, whole, length)
	} else if _, err := s.image.ReadAt(dst, off); err != nil {
		return fmt.Errorf("read page %d of %s at %d: %w", page, patch.ImageFile, off, err)
	}
	if got := checksum.Sum64(dst); got != want {
		return pageDefect(page, off, want, got)
	}
	return nil
}

func pageDefect(page int, off int64, want, got uint64) *patch.Defect {
	return &patch.Defect{Class: patch.ErrDamaged, File: patch.ImageFile, Page: int64(page), Offset: off,
		Want: fmt.Sprintf("%016x", want), Got: fmt.Sprintf("%016x", got), Reason: "hash of the page"}
}

// Resolve returns where a store lies: dir itself, or .urb/chk in it if dir is
// the root of a pier. ErrNotStore if dir is a file, or empty.
func Resolve(fsys vfs.FS, dir string) (string, error) {
	if dir == "" {
		return "", fmt.Errorf("no name given: %w", ErrNotStore)
	}
	info, err := fsys.Stat(filepath.Join(dir, ".urb"))
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return "", fmt.Errorf("%s: %w: not a directory", dir, ErrNotStore)
	case errors.Is(err, fs.ErrNotExist):
		return dir, nil
	case err != nil:
		return "", err
	case !info.IsDir():
		return dir, nil
	}
	return filepath.Join(dir, ".urb", "chk"), nil
}

// openExisting opens name in the store's directory, nil if it does not exist.
// Only ENOENT means absent (W9); a directory or anything else in its place is
// an error.
func openExisting(fsys vfs.FS, dir, name string, flag int) (vfs.File, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, name), flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, linkHint(err)
}

// open opens or creates name in the store's directory.
func (s *Store) open(name string, flag int) (vfs.File, error) {
	f, err := s.o.FS.OpenFile(filepath.Join(s.dir, name), flag, 0o600)
	return f, linkHint(err)
}

// linkHint says what is to be done about a file that is a symbolic link.
func linkHint(err error) error {
	if !errors.Is(err, syscall.ELOOP) {
		return err
	}
	return cerrors.WithHint(err, "the directory of a store may be a symbolic link, its files may not: nothing is written through one")
}

// openFiles opens the four files for the store's life, flags[i] added to
// O_RDWR for control, memory, image and sums in this order.
func (s *Store) openFiles(flags [4]int) error {
	for i, f := range []struct {
		name string
		file *vfs.File
	}{{patch.ControlFile, &s.control}, {patch.MemoryFile, &s.memory}, {patch.ImageFile, &s.image}, {patch.SumsFile, &s.sums}} {
		file, err := s.open(f.name, os.O_RDWR|flags[i])
		if err != nil {
			return err
		}
		*f.file = file
	}
	return nil
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, f := range []vfs.File{s.control, s.memory, s.image, s.sums} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
