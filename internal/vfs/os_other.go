//go:build !linux

package vfs

import (
	"errors"
	"io/fs"
	"os"
)

// OpenFlags adds nothing here.
func OpenFlags(flag int) int { return flag }

type osFile struct{ *os.File }

func newOSFile(f *os.File) (osFile, error) { return osFile{f}, nil }

func (f osFile) unsupported(op string) error {
	return &fs.PathError{Op: op, Path: f.Name(), Err: errors.ErrUnsupported}
}

func (f osFile) Allocate(off, n int64) error { return f.unsupported("allocate") }
func (f osFile) Renew(off, n int64) error    { return nil }
func (f osFile) CloneFrom(src File) error    { return f.unsupported("clone") }
func (f osFile) WriteBack(off, n int64)      {}
func (f osFile) Fd() (uintptr, bool)         { return f.File.Fd(), true }

// Size takes every byte of the length as allocated.
func (f osFile) Size() (length, allocated int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), info.Size(), nil
}

// OpenLock is not supported here.
func (osFS) OpenLock(name string) (Lock, error) { return OpenLockWith(name, os.OpenFile) }

// OpenLockWith is not supported here.
func OpenLockWith(name string, _ func(name string, flag int, perm fs.FileMode) (*os.File, error)) (Lock, error) {
	return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.ErrUnsupported}
}

func fsyncDir(d *os.File) error { return d.Sync() }

// WriteVec writes the buffers one by one.
func (f osFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	var done int64
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
