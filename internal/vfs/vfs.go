// Package vfs is the one way by which a store's durable bytes reach a disk
// (rule R7): a small file system interface, its implementation on the
// operating system, and beside it memfs (a file system in memory that can
// crash), errorfs (injected errors) and oplog (a record of every operation).
//
// What it promises is what its callers reason with: WriteAt, WriteVec and
// Truncate change what later reads see, nothing more. Sync makes one file's
// bytes and length durable, not its name. SyncDir makes the names in one
// directory durable. An error from either says nothing about what is on the
// medium, and a second call that succeeds proves nothing: only Renew, and
// writing the bytes again, does.
//
// What it does not do: decide what is written when. That is patch and image.
package vfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strconv"
)

// ErrLocked reports that somebody else holds a lock. See LockedError.
var ErrLocked = errors.New("vfs: locked")

// FS is a file system. Names are paths of the operating system. All methods
// are safe for concurrent use. Errors of the operating system come wrapped in
// *fs.PathError, those of Rename in *os.LinkError: errors.Is finds
// fs.ErrNotExist, the errno, and errors.ErrUnsupported where the file system
// can not do what was asked.
type FS interface {
	// OpenFile opens name with the flags of package os (O_RDONLY, O_RDWR,
	// O_CREATE, O_EXCL, O_TRUNC). Descriptors are closed on exec. A symbolic
	// link is followed for reading, and is an error for writing.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Remove, Rename and Mkdir change one directory; durable after SyncDir.
	Remove(name string) error
	Rename(oldname, newname string) error
	Mkdir(name string, perm fs.FileMode) error
	// Stat follows symbolic links.
	Stat(name string) (fs.FileInfo, error)
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// OpenLock opens or creates the lock file name. Nothing is locked yet.
	OpenLock(name string) (Lock, error)
}

// Freer is a file system that knows how much room it has.
type Freer interface {
	// Free returns the bytes that this process may still allocate in the file
	// system of directory name.
	Free(name string) (int64, error)
}

// File is an open regular file. ReadAt and WriteAt are as in package io: fewer
// bytes than asked always come with an error. All methods are safe for
// concurrent use on disjoint ranges.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// WriteVec writes the buffers one after the other from off on, in as few
	// calls of the system as it takes. It returns the bytes written; fewer
	// than the sum of the lengths always come with an error.
	WriteVec(bufs [][]byte, off int64) (int64, error)
	// Truncate sets the length; new bytes read as zero. A length that does
	// not grow gives back what Allocate reserved beyond it, also when it is
	// the length the file has already (as ext4 does).
	Truncate(size int64) error
	// Allocate reserves blocks for [off, off+n) without changing what is read
	// or the length, so that writing there later can not run out of space.
	// errors.ErrUnsupported where the file system can not.
	Allocate(off, n int64) error
	// Renew makes the part of [off, off+n) that lies below the length read as
	// zero, and keeps or allocates its blocks. It belongs before a write where
	// an earlier write may have failed on its way to the medium, in this
	// process or another. ext4 remembers of a page whose first write-back
	// failed that it has a block, but never again that the block counts as
	// unwritten: it takes what is written there later, syncs it without an
	// error, and after a power cut reads zeros. Only whole blocks of 4096 bytes
	// are renewed for certain. Where the file system can not do this nothing
	// happens, and that is no error.
	Renew(off, n int64) error
	// Sync makes the bytes and the length durable (fdatasync).
	Sync() error
	// Size returns the length, and the bytes of disk allocated to the file.
	Size() (length, allocated int64, err error)
	// CloneFrom makes this empty file share all of src's blocks (reflink).
	// errors.ErrUnsupported where the file system can not; then it is
	// unchanged.
	CloneFrom(src File) error
	// WriteBack asks for [off, off+n) to be written soon, without waiting and
	// without any promise. It may do nothing.
	WriteBack(off, n int64)
	// Fd returns the descriptor for mapping the file, and false where the
	// file has none. It stays owned by the File.
	Fd() (uintptr, bool)
}

// Lock is an open lock file. Byte 0 says who owns the store, byte 1 keeps an
// apply and a backup apart; locks of different bytes are independent. A lock
// belongs to the Lock value that took it (open file description locks), so two
// openers in one process exclude each other too, and it ends with Close or the
// death of the process.
type Lock interface {
	// TryLock takes byte n, exclusively or shared. If somebody else holds it:
	// *LockedError.
	TryLock(n int64, exclusive bool) error
	// Lock is TryLock that waits until ctx is done.
	Lock(ctx context.Context, n int64, exclusive bool) error
	// Unlock gives byte n back.
	Unlock(n int64) error
	// SetOwner writes the decimal process id as the file's content: a note
	// for whoever finds byte 0 taken. Not durable.
	SetOwner(pid int) error
	io.Closer
}

// LockedError says which lock was taken and by whom.
type LockedError struct {
	Name string
	PID  int // of the owner of byte 0; 0 for another byte, or if the file did not say
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return e.Name + ": locked by another process"
	}
	return e.Name + ": locked by process " + strconv.Itoa(e.PID)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }
