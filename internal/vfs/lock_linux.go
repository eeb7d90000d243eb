package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Waiting for a lock asks again after pollMin, then twice that, up to pollMax.
// The kernel's own waiting call can not be left when a context ends.
const (
	pollMin = time.Millisecond
	pollMax = 64 * time.Millisecond
)

// osLock holds open file description locks: they belong to this descriptor,
// not to the process, and end with it.
type osLock struct {
	*osFile
	// readOnly is why the file could not be opened for writing, if so.
	// Shared locks can be taken all the same.
	readOnly error
}

func (osFS) OpenLock(name string) (Lock, error) {
	return OpenLockWith(name, os.OpenFile)
}

// OpenLockWith opens or creates a lock file by means of open. It falls back to
// opening an existing one for reading, so that a store in a read-only
// directory can be locked shared.
func OpenLockWith(name string, open func(name string, flag int, perm fs.FileMode) (*os.File, error)) (Lock, error) {
	f, err := open(name, OpenFlags(os.O_RDWR|os.O_CREATE), 0o600)
	readOnly := err
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		var again error
		if f, again = open(name, OpenFlags(os.O_RDONLY), 0); again == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	file, err := newOSFile(f)
	if err != nil {
		return nil, err
	}
	return &osLock{osFile: file, readOnly: readOnly}, nil
}

func (l *osLock) TryLock(n int64, exclusive bool) error {
	kind := int16(unix.F_RDLCK)
	if exclusive {
		if l.readOnly != nil {
			return fmt.Errorf("lock exclusively: %w", l.readOnly)
		}
		kind = unix.F_WRLCK
	}
	err := l.set(n, kind)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		locked := &LockedError{Name: l.Name()}
		if n == ownerByte {
			locked.PID = ReadOwner(l.File)
		}
		return locked
	}
	return err
}

func (l *osLock) Lock(ctx context.Context, n int64, exclusive bool) error {
	wait := pollMin
	for {
		err := l.TryLock(n, exclusive)
		if !errors.Is(err, ErrLocked) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-timer.C:
		}
		wait = min(2*wait, pollMax)
	}
}

func (l *osLock) Unlock(n int64) error { return l.set(n, unix.F_UNLCK) }

func (l *osLock) set(n int64, kind int16) error { return l.setRange(n, 1, kind) }

func (l *osLock) setRange(from, n int64, kind int16) error {
	return l.control("lock", func(fd int) error {
		return retryEINTR(func() error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: from, Len: n})
		})
	})
}

// Close unlocks before it closes: a child of this process that is between its
// fork and its exec shares the description, and would hold the lock until then.
func (l *osLock) Close() error {
	return errors.Join(l.setRange(0, 0, unix.F_UNLCK), l.osFile.Close()) // 0, 0: the whole file
}

func (l *osLock) SetOwner(pid int) error {
	if l.readOnly != nil {
		return fmt.Errorf("write the owner: %w", l.readOnly)
	}
	return WriteOwner(l.File, pid)
}
