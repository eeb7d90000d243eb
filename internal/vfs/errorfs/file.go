package errorfs

import (
	"context"

	"loomstore/internal/vfs"
)

// file passes Fd through.
type file struct {
	vfs.File
	fs   *FS
	name string
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	partial, err := f.fs.fault(Op{Kind: vfs.Read, Name: f.name, Off: off, Len: int64(len(p))})
	if err == nil {
		return f.File.ReadAt(p, off)
	}
	if !partial {
		return 0, err
	}
	n, readErr := f.File.ReadAt(p[:len(p)/2], off)
	if readErr != nil {
		err = readErr
	}
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	partial, err := f.fs.fault(Op{Kind: vfs.Write, Name: f.name, Off: off, Len: int64(len(p))})
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	if !partial {
		return 0, err
	}
	n, writeErr := f.File.WriteAt(p[:len(p)/2], off)
	if writeErr != nil {
		err = writeErr
	}
	return n, err
}

func (f *file) WriteVec(bufs [][]byte, off int64) (int64, error) {
	var total int64
	for _, b := range bufs {
		total += int64(len(b))
	}
	partial, err := f.fs.fault(Op{Kind: vfs.WriteVec, Name: f.name, Off: off, Len: total})
	if err == nil {
		return f.File.WriteVec(bufs, off)
	}
	if !partial {
		return 0, err
	}
	n, writeErr := f.File.WriteVec(head(bufs, total/2), off)
	if writeErr != nil {
		err = writeErr
	}
	return n, err
}

// head returns the first n bytes of the buffers.
func head(bufs [][]byte, n int64) [][]byte {
	var first [][]byte
	for _, b := range bufs {
		b = b[:min(n, int64(len(b)))]
		first = append(first, b)
		n -= int64(len(b))
	}
	return first
}

func (f *file) Truncate(size int64) error {
	if err := f.fs.check(Op{Kind: vfs.Truncate, Name: f.name, Off: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *file) Allocate(off, n int64) error {
	if err := f.fs.check(Op{Kind: vfs.Allocate, Name: f.name, Off: off, Len: n}); err != nil {
		return err
	}
	return f.File.Allocate(off, n)
}

func (f *file) Renew(off, n int64) error {
	if err := f.fs.check(Op{Kind: vfs.Renew, Name: f.name, Off: off, Len: n}); err != nil {
		return err
	}
	return f.File.Renew(off, n)
}

func (f *file) Sync() error {
	if err := f.fs.check(Op{Kind: vfs.Sync, Name: f.name}); err != nil {
		f.FailSync()
		return err
	}
	return f.File.Sync()
}

// FailSync tells the file system below, if it can be told.
func (f *file) FailSync() {
	if below, ok := f.File.(interface{ FailSync() }); ok {
		below.FailSync()
	}
}

func (f *file) Size() (length, allocated int64, err error) {
	if err := f.fs.check(Op{Kind: vfs.Size, Name: f.name}); err != nil {
		return 0, 0, err
	}
	return f.File.Size()
}

func (f *file) NextData(off int64) (int64, error) {
	if err := f.fs.check(Op{Kind: vfs.Seek, Name: f.name, Off: off}); err != nil {
		return 0, err
	}
	return vfs.NextData(f.File, off)
}

func (f *file) CloneFrom(src vfs.File) error {
	op := Op{Kind: vfs.Clone, Name: f.name}
	if wrapped, ok := src.(*file); ok {
		op.NewName, src = wrapped.name, wrapped.File
	}
	if err := f.fs.check(op); err != nil {
		return err
	}
	return f.File.CloneFrom(src)
}

func (f *file) CloneRange(src vfs.File, from, n, off int64) error {
	op := Op{Kind: vfs.Share, Name: f.name, Off: off, Len: n}
	if wrapped, ok := src.(*file); ok {
		op.NewName, src = wrapped.name, wrapped.File
	}
	if err := f.fs.check(op); err != nil {
		return err
	}
	return vfs.CloneRange(f.File, src, from, n, off)
}

func (f *file) WriteBack(off, n int64) {
	if f.fs.check(Op{Kind: vfs.WriteBack, Name: f.name, Off: off, Len: n}) == nil {
		f.File.WriteBack(off, n)
	}
}

func (f *file) Close() error {
	err := f.fs.check(Op{Kind: vfs.Close, Name: f.name})
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}

type lock struct {
	inner vfs.Lock
	fs    *FS
	name  string
}

func (l *lock) TryLock(n int64, exclusive bool) error {
	if err := l.fs.check(Op{Kind: vfs.TakeLock, Name: l.name, Off: n}); err != nil {
		return err
	}
	return l.inner.TryLock(n, exclusive)
}

func (l *lock) Lock(ctx context.Context, n int64, exclusive bool) error {
	if err := l.fs.check(Op{Kind: vfs.TakeLock, Name: l.name, Off: n}); err != nil {
		return err
	}
	return l.inner.Lock(ctx, n, exclusive)
}

func (l *lock) Unlock(n int64) error {
	if err := l.fs.check(Op{Kind: vfs.Unlock, Name: l.name, Off: n}); err != nil {
		return err
	}
	return l.inner.Unlock(n)
}

func (l *lock) SetOwner(pid int) error {
	if err := l.fs.check(Op{Kind: vfs.SetOwner, Name: l.name}); err != nil {
		return err
	}
	return l.inner.SetOwner(pid)
}

func (l *lock) Close() error {
	err := l.fs.check(Op{Kind: vfs.CloseLock, Name: l.name})
	if closeErr := l.inner.Close(); err == nil {
		err = closeErr
	}
	return err
}
