package vfs

import (
	"io/fs"
	"os"
)

// OS is the file system of the operating system. It is complete on Linux.
// Elsewhere reading, writing and syncing work, and Allocate, CloneFrom and
// OpenLock return errors.ErrUnsupported.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, OpenFlags(flag), perm)
	if err != nil {
		return nil, err
	}
	return FileOf(f)
}

// FileOf makes a File of f, which it owns and which must be a regular file.
func FileOf(f *os.File) (File, error) {
	file, err := newOSFile(f)
	if err != nil {
		return nil, err // not file: a nil *osFile is not a nil File
	}
	return file, nil
}

func (osFS) Remove(name string) error                   { return os.Remove(name) }
func (osFS) Rename(oldname, newname string) error       { return os.Rename(oldname, newname) }
func (osFS) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = fsyncDir(d)
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
