package vfs

import (
	"context"
	"errors"
)

// ErrTooLarge reports a Sequence of more operations, or bytes, than the file
// system takes at once.
var ErrTooLarge = errors.New("vfs: sequence too large")

// Sequencer is a file system outside this process that takes operations in
// advance: what was submitted is carried out even if this process is killed at
// once, and until then the locks that it has opened there are not given up.
type Sequencer interface {
	FS
	// Sequence begins an empty sequence of operations on this file system's
	// own Files and Locks.
	Sequence() Sequence
}

// Sequence is operations that are carried out in order, up to the first that
// fails or does less than it should. What an error means is what the operation
// of File says. Not safe for concurrent use.
type Sequence interface {
	WriteAt(f File, p []byte, off int64) // p may change after Submit
	// Copy copies n bytes between files, which never come to share blocks. A
	// source that ends before is a failure.
	Copy(dst File, dstOff int64, src File, srcOff, n int64)
	Truncate(f File, size int64)
	WriteBack(f File, off, n int64)
	Sync(f File)
	// TakeLock takes byte n exclusively and waits for it; Unlock gives it back.
	TakeLock(l Lock, n int64)
	Unlock(l Lock, n int64)
	// Mark is the place that Submitted.Marked waits for.
	Mark()
	// Submit hands the sequence over. After an error, ErrTooLarge among them,
	// nothing of it is done.
	Submit() (Submitted, error)
}

// Submitted is a sequence that is being carried out. An error of its methods
// other than the context's says that nothing more of it will be done.
type Submitted interface {
	// Marked returns when everything before the mark is done.
	Marked() error
	// Wait returns when everything is done.
	Wait(ctx context.Context) error
}
