// Package aiodfs lets a loom do its durable operations in another process: it
// makes of a native aiod client the file system that loom.Options.IO asks for.
//
// Everything that changes a file, a name or what is on the medium is done by
// the daemon: writes, lengths, reservations, syncs, renames. This process reads,
// maps and locks through its own descriptors of the same open files. So the
// daemon holds the store's lock too, and of what it has accepted it finishes
// everything before that ends, however this process dies: above all the
// sequence that begins with a commit record and ends with the checkpoint
// applied.
//
// A daemon that dies fails what it had; the next operation starts another,
// which is given the open files. To the engine that is an error of the file
// system like any other (R4). The kernel's buffers outlive both processes.
//
// What it does not do: start or close the client, or survive the machine.
package aiodfs

import (
	"errors"
	"io/fs"
	"math"
	"math/bits"
	"os"

	"loomstore/aiod"
	"loomstore/internal/vfs"
)

// FS is the file system as a daemon sees it. It is safe for concurrent use.
type FS struct{ c *aiod.Client }

var (
	_ vfs.Sequencer = (*FS)(nil)
	_ vfs.Freer     = (*FS)(nil)
)

// New makes a file system of c, which must be in native mode and stays the
// caller's to close, after the Loom. Relative names are relative to the
// daemon's directory, or to its root.
func New(c *aiod.Client) *FS { return &FS{c} }

// String is what Metrics calls it.
func (*FS) String() string { return "aiod" }

// open opens name in the daemon and here.
func (s *FS) open(name string, flag int, perm fs.FileMode) (*aiod.File, *os.File, error) {
	f, err := s.c.OpenFile(name, flag, perm)
	if err != nil {
		return nil, nil, err
	}
	here, ok := f.OS()
	if !ok {
		err := &fs.PathError{Op: "open", Path: name, Err: errCompatible}
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, here, nil
}

var errCompatible = errors.Join(errors.New("the aiod client is not in native mode"), errors.ErrUnsupported)

// OpenFile is as in vfs.FS, like all that follow.
func (s *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, here, err := s.open(name, vfs.OpenFlags(flag), perm)
	if err != nil {
		return nil, err
	}
	local, err := vfs.FileOf(here)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &file{File: local, f: f}, nil
}

func (s *FS) Remove(name string) error                   { return s.c.Remove(name) }
func (s *FS) Mkdir(name string, perm fs.FileMode) error  { return s.c.Mkdir(name, perm) }
func (s *FS) Stat(name string) (fs.FileInfo, error)      { return s.c.Stat(name) }
func (s *FS) ReadDir(name string) ([]fs.DirEntry, error) { return s.c.ReadDir(name) }
func (s *FS) SyncDir(name string) error                  { return s.c.SyncDir(name) }

func (s *FS) Rename(oldname, newname string) error {
	err := s.c.Rename(oldname, newname)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: path.Err}
	}
	return err
}

// Free is what the daemon may still allocate.
func (s *FS) Free(name string) (int64, error) {
	st, err := s.c.Statvfs(name)
	if err != nil {
		return 0, err
	}
	hi, lo := bits.Mul64(st.Bavail, st.Frsize)
	if hi > 0 || lo > math.MaxInt64 {
		return math.MaxInt64, nil
	}
	return int64(lo), nil
}

// OpenLock opens the lock file in both processes: what is locked through the
// Lock is the daemon's lock too.
func (s *FS) OpenLock(name string) (vfs.Lock, error) {
	var f *aiod.File
	l, err := vfs.OpenLockWith(name, func(name string, flag int, perm fs.FileMode) (here *os.File, err error) {
		f, here, err = s.open(name, flag, perm)
		return here, err
	})
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, err
	}
	return &lock{l, f}, nil
}

// lock locks here and is held in both processes.
type lock struct {
	local
	f *aiod.File
}

type local = vfs.Lock // under a name that is not a method's

// Close unlocks first: a child of this process that is between its fork and its
// exec shares the descriptor, and the daemon closes its own a moment later.
func (l *lock) Close() error { return errors.Join(l.Unlock(0), l.Unlock(1), l.f.Close()) }
