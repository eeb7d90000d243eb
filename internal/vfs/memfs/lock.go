package memfs

import (
	"context"
	"fmt"
	"os"
	"slices"

	"loomstore/internal/vfs"
)

// holders are the locks on one byte of a file: any number, shared, or one.
type holders struct {
	exclusive bool
	by        []*lock
}

type lock struct{ *file }

// OpenLock opens or creates the lock file name. Locks are kept in a table of
// the file; a clone starts with an empty one.
func (m *FS) OpenLock(name string) (vfs.Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &lock{f}, nil
}

func (l *lock) TryLock(n int64, exclusive bool) error {
	_, err := l.try(n, exclusive)
	return err
}

// try returns, with a *vfs.LockedError, a channel that is closed when any lock
// is given back.
func (l *lock) try(n int64, exclusive bool) (<-chan struct{}, error) {
	defer l.fs.mu.Unlock()
	if err := l.use("lock", none); err != nil {
		return nil, err
	}
	h := l.in.locks[n]
	if h == nil {
		h = new(holders)
	}
	others := slices.DeleteFunc(slices.Clone(h.by), func(o *lock) bool { return o == l })
	if len(others) > 0 && (exclusive || h.exclusive) {
		locked := &vfs.LockedError{Name: l.name}
		if n == 0 {
			locked.PID = vfs.ReadOwner(&l.in.cur)
		}
		return l.fs.unlocked, locked
	}
	if l.in.locks == nil {
		l.in.locks = map[int64]*holders{}
	}
	if h.exclusive && !exclusive {
		l.fs.announce() // others that wait for a shared lock get it now
	}
	l.in.locks[n] = &holders{exclusive, append(others, l)}
	return nil, nil
}

func (l *lock) Lock(ctx context.Context, n int64, exclusive bool) error {
	for {
		unlocked, err := l.try(n, exclusive)
		if unlocked == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-unlocked:
		}
	}
}

// announce wakes all that wait for a lock.
func (m *FS) announce() {
	close(m.unlocked)
	m.unlocked = make(chan struct{})
}

func (l *lock) Unlock(n int64) error {
	defer l.fs.mu.Unlock()
	if err := l.use("lock", none); err != nil {
		return err
	}
	l.unlock(n)
	return nil
}

func (l *lock) unlock(n int64) {
	h := l.in.locks[n]
	if h == nil {
		return
	}
	h.by = slices.DeleteFunc(h.by, func(o *lock) bool { return o == l })
	if len(h.by) == 0 {
		delete(l.in.locks, n)
	}
	l.fs.announce()
}

func (l *lock) SetOwner(pid int) error { return vfs.WriteOwner(l.file, pid) }

func (l *lock) Close() error {
	l.fs.mu.Lock()
	if !l.closed {
		for n := range l.in.locks {
			l.unlock(n)
		}
	}
	l.fs.mu.Unlock()
	return l.file.Close()
}
