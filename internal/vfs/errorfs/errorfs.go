// Package errorfs wraps a file system and lets chosen operations fail, so that
// a test can see what becomes of a store under every error at every point.
//
// An Injector looks at each operation before it happens and answers with a
// Fault or nil. Nth is the injector for the usual loop over all points:
//
//	for n := 0; ; n++ {
//		nth := &errorfs.Nth{N: n, Fault: errorfs.Fault{Err: syscall.EIO}}
//		run(errorfs.New(memfs.New(), nth))
//		if nth.Injected() == 0 {
//			break // n was behind the last operation
//		}
//		check()
//	}
//
// A failed operation leaves the file system as it was, with three exceptions:
// a Fault with Partial does the first part of a read or write; a Close closes; and a
// failed Sync of a file does, where the file system below knows what that
// means (memfs), what a failed sync does to a page cache. A failed WriteBack
// is one that does nothing, for it has no error.
//
// What it does not do: fail on its own, or fail SyncDir in any worse way than
// leaving the names as they were.
package errorfs

import (
	"io/fs"
	"os"

	"loomstore/internal/vfs"
)

// Op is an operation that is about to happen.
type Op struct {
	Kind    vfs.Kind
	Name    string // path as the caller gave it
	NewName string // Rename: the new one; Clone, Share: the source
	Off     int64  // Read, Write, WriteVec, Allocate, Renew, WriteBack, Seek, Share; the byte of a lock; the size of Truncate
	Len     int64
}

// Fault is how an operation fails.
type Fault struct {
	// Err is what the operation returns, in a *fs.PathError (*os.LinkError
	// for Rename).
	Err error
	// Partial lets a Read, Write or WriteVec do the first half of its bytes,
	// rounded down, before it fails: with io.ErrShortWrite or an errno, this
	// is a short write.
	Partial bool
}

// Injector decides which operations fail. It must be safe for concurrent use.
type Injector interface {
	// Inject returns nil to let op happen.
	Inject(op Op) *Fault
}

// FS is a file system whose operations can fail.
type FS struct {
	inner    vfs.FS
	injector Injector
}

var _ vfs.FS = (*FS)(nil)

// New wraps inner.
func New(inner vfs.FS, injector Injector) *FS { return &FS{inner, injector} }

// fault asks the injector about op. The error is nil if it shall happen.
func (e *FS) fault(op Op) (partial bool, err error) {
	f := e.injector.Inject(op)
	if f == nil {
		return false, nil
	}
	if op.Kind == vfs.Rename {
		return f.Partial, &os.LinkError{Op: string(op.Kind), Old: op.Name, New: op.NewName, Err: f.Err}
	}
	return f.Partial, &fs.PathError{Op: string(op.Kind), Path: op.Name, Err: f.Err}
}

// check is fault for operations that can not be done in part.
func (e *FS) check(op Op) error {
	_, err := e.fault(op)
	return err
}

func (e *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if err := e.check(Op{Kind: vfs.OpenKind(flag), Name: name}); err != nil {
		return nil, err
	}
	f, err := e.inner.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: e, name: name}, nil
}

func (e *FS) Remove(name string) error {
	if err := e.check(Op{Kind: vfs.Remove, Name: name}); err != nil {
		return err
	}
	return e.inner.Remove(name)
}

func (e *FS) Rename(oldname, newname string) error {
	if err := e.check(Op{Kind: vfs.Rename, Name: oldname, NewName: newname}); err != nil {
		return err
	}
	return e.inner.Rename(oldname, newname)
}

func (e *FS) Mkdir(name string, perm fs.FileMode) error {
	if err := e.check(Op{Kind: vfs.Mkdir, Name: name}); err != nil {
		return err
	}
	return e.inner.Mkdir(name, perm)
}

func (e *FS) Stat(name string) (fs.FileInfo, error) {
	if err := e.check(Op{Kind: vfs.Stat, Name: name}); err != nil {
		return nil, err
	}
	return e.inner.Stat(name)
}

func (e *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := e.check(Op{Kind: vfs.ReadDir, Name: name}); err != nil {
		return nil, err
	}
	return e.inner.ReadDir(name)
}

func (e *FS) SyncDir(name string) error {
	if err := e.check(Op{Kind: vfs.SyncDir, Name: name}); err != nil {
		return err
	}
	return e.inner.SyncDir(name)
}

func (e *FS) OpenLock(name string) (vfs.Lock, error) {
	if err := e.check(Op{Kind: vfs.OpenLock, Name: name}); err != nil {
		return nil, err
	}
	l, err := e.inner.OpenLock(name)
	if err != nil {
		return nil, err
	}
	return &lock{inner: l, fs: e, name: name}, nil
}
