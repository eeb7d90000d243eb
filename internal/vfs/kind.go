package vfs

import "os"

// Kind names an operation of FS, File or Lock for errorfs and oplog. Fd is not
// one: it does nothing.
type Kind string

// The operations.
const (
	Open      Kind = "open"
	Create    Kind = "create" // OpenFile with O_CREATE, whether the file existed or not
	Remove    Kind = "remove"
	Rename    Kind = "rename"
	Mkdir     Kind = "mkdir"
	Stat      Kind = "stat"
	ReadDir   Kind = "readdir"
	SyncDir   Kind = "syncdir"
	Read      Kind = "read"
	Write     Kind = "write"
	WriteVec  Kind = "writev"
	Truncate  Kind = "truncate"
	Allocate  Kind = "alloc"
	Renew     Kind = "renew"
	Sync      Kind = "sync"
	Size      Kind = "size"
	Seek      Kind = "seek" // NextData
	Clone     Kind = "clone"
	Share     Kind = "share" // CloneRange
	WriteBack Kind = "writeback"
	Close     Kind = "close"
	OpenLock  Kind = "openlock"
	TakeLock  Kind = "lock" // TryLock and Lock
	Unlock    Kind = "unlock"
	SetOwner  Kind = "owner"
	CloseLock Kind = "closelock"
)

// OpenKind returns Create or Open.
func OpenKind(flag int) Kind {
	if flag&os.O_CREATE != 0 {
		return Create
	}
	return Open
}

// OnlyReads tells whether the operation changes nothing, on no medium and for
// nobody.
func (k Kind) OnlyReads() bool {
	switch k {
	case Read, Stat, ReadDir, Size, Seek:
		return true
	}
	return false
}
