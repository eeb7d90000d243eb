package oplog

import (
	"bytes"
	"context"

	"loomstore/internal/vfs"
)

// file passes Fd through.
type file struct {
	vfs.File
	log  *FS
	name string
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	op := Op{Kind: vfs.Read, Name: f.name, Off: off, Len: int64(len(p)), Began: f.log.began()}
	n, err = f.File.ReadAt(p, off)
	op.Done, op.Err = int64(n), err
	f.log.record(op)
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	op := Op{Kind: vfs.Write, Name: f.name, Off: off, Len: int64(len(p)), Began: f.log.began()}
	if f.log.options.Bytes {
		op.Bytes = bytes.Clone(p)
	}
	n, err = f.File.WriteAt(p, off)
	op.Done, op.Err = int64(n), err
	f.log.record(op)
	return n, err
}

func (f *file) WriteVec(bufs [][]byte, off int64) (n int64, err error) {
	op := Op{Kind: vfs.WriteVec, Name: f.name, Off: off, Began: f.log.began()}
	for _, b := range bufs {
		op.Len += int64(len(b))
	}
	if f.log.options.Bytes {
		op.Bytes = bytes.Join(bufs, nil)
	}
	n, err = f.File.WriteVec(bufs, off)
	op.Done, op.Err = n, err
	f.log.record(op)
	return n, err
}

func (f *file) Truncate(size int64) error {
	return f.log.around(Op{Kind: vfs.Truncate, Name: f.name, Len: size}, func() error { return f.File.Truncate(size) })
}

func (f *file) Allocate(off, n int64) error {
	return f.log.around(Op{Kind: vfs.Allocate, Name: f.name, Off: off, Len: n}, func() error { return f.File.Allocate(off, n) })
}

func (f *file) Renew(off, n int64) error {
	return f.log.around(Op{Kind: vfs.Renew, Name: f.name, Off: off, Len: n}, func() error { return f.File.Renew(off, n) })
}

func (f *file) Sync() error {
	return f.log.around(Op{Kind: vfs.Sync, Name: f.name}, f.File.Sync)
}

// FailSync passes on what errorfs tells the file system below.
func (f *file) FailSync() {
	if below, ok := f.File.(interface{ FailSync() }); ok {
		below.FailSync()
	}
}

func (f *file) Size() (length, allocated int64, err error) {
	err = f.log.around(Op{Kind: vfs.Size, Name: f.name}, func() (err error) {
		length, allocated, err = f.File.Size()
		return err
	})
	return length, allocated, err
}

func (f *file) NextData(off int64) (next int64, err error) {
	err = f.log.around(Op{Kind: vfs.Seek, Name: f.name, Off: off}, func() (err error) {
		next, err = vfs.NextData(f.File, off)
		return err
	})
	return next, err
}

func (f *file) CloneFrom(src vfs.File) error {
	op := Op{Kind: vfs.Clone, Name: f.name}
	if wrapped, ok := src.(*file); ok {
		op.NewName, src = wrapped.name, wrapped.File
	}
	return f.log.around(op, func() error { return f.File.CloneFrom(src) })
}

func (f *file) CloneRange(src vfs.File, from, n, off int64) error {
	op := Op{Kind: vfs.Share, Name: f.name, Off: off, Len: n, From: from}
	if wrapped, ok := src.(*file); ok {
		op.NewName, src = wrapped.name, wrapped.File
	}
	if f.log.options.Bytes {
		op.Bytes = make([]byte, n)
		if _, err := src.ReadAt(op.Bytes, from); err != nil {
			return err
		}
	}
	return f.log.around(op, func() error { return vfs.CloneRange(f.File, src, from, n, off) })
}

func (f *file) WriteBack(off, n int64) {
	f.log.around(Op{Kind: vfs.WriteBack, Name: f.name, Off: off, Len: n}, func() error {
		f.File.WriteBack(off, n)
		return nil
	})
}

func (f *file) Close() error {
	return f.log.around(Op{Kind: vfs.Close, Name: f.name}, f.File.Close)
}

type lock struct {
	inner vfs.Lock
	log   *FS
	name  string
}

func (l *lock) TryLock(n int64, exclusive bool) error {
	return l.log.around(Op{Kind: vfs.TakeLock, Name: l.name, Off: n, Exclusive: exclusive}, func() error {
		return l.inner.TryLock(n, exclusive)
	})
}

func (l *lock) Lock(ctx context.Context, n int64, exclusive bool) error {
	return l.log.around(Op{Kind: vfs.TakeLock, Name: l.name, Off: n, Exclusive: exclusive}, func() error {
		return l.inner.Lock(ctx, n, exclusive)
	})
}

func (l *lock) Unlock(n int64) error {
	return l.log.around(Op{Kind: vfs.Unlock, Name: l.name, Off: n}, func() error { return l.inner.Unlock(n) })
}

func (l *lock) SetOwner(pid int) error {
	return l.log.around(Op{Kind: vfs.SetOwner, Name: l.name, Len: int64(pid)}, func() error { return l.inner.SetOwner(pid) })
}

func (l *lock) Close() error {
	return l.log.around(Op{Kind: vfs.CloseLock, Name: l.name}, l.inner.Close)
}
