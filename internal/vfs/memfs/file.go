package memfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"loomstore/internal/vfs"
)

// file is one opening of an inode.
type file struct {
	fs     *FS
	in     *inode
	name   string
	access int // os.O_RDONLY, os.O_WRONLY or os.O_RDWR
	closed bool
}

// use takes the lock for one call that is not allowed with the given access
// mode. The caller unlocks in any case.
func (f *file) use(op string, forbidden int) error {
	f.fs.mu.Lock()
	if f.closed {
		return pathError(op, f.name, fs.ErrClosed)
	}
	if f.access == forbidden {
		return pathError(op, f.name, syscall.EBADF)
	}
	return nil
}

// maxSize is where a file ends at the latest; beyond is syscall.EFBIG.
const maxSize = 1 << 40

var errNegative = fmt.Errorf("negative offset or length: %w", syscall.EINVAL)

const none = -1 // no access mode is forbidden

func (f *file) checkRange(op string, off, n int64) error {
	if off < 0 || n < 0 {
		return pathError(op, f.name, errNegative)
	}
	if n > maxSize-off {
		return pathError(op, f.name, syscall.EFBIG)
	}
	return nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	defer f.fs.mu.Unlock()
	if err := f.use("read", os.O_WRONLY); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, errNegative)
	}
	return f.in.cur.ReadAt(p, off)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WriteVec([][]byte{p}, off)
	return int(n), err
}

// WriteVec writes as many bytes as there is space for.
func (f *file) WriteVec(bufs [][]byte, off int64) (int64, error) {
	defer f.fs.mu.Unlock()
	if err := f.use("write", os.O_RDONLY); err != nil {
		return 0, err
	}
	var done int64
	for _, b := range bufs {
		if err := f.checkRange("write", off+done, int64(len(b))); err != nil {
			return done, err
		}
		fits := f.fits(off+done, int64(len(b)))
		f.fs.change(f.in, func(seq uint64) { f.in.write(seq, b[:fits], off+done) })
		done += fits
		if fits < int64(len(b)) {
			return done, pathError("write", f.name, syscall.ENOSPC)
		}
	}
	return done, nil
}

// fits returns how many of n bytes at off can be written before space runs out.
func (f *file) fits(off, n int64) int64 {
	room := f.fs.room()
	if f.in.cur.holes(off, n) <= room {
		return n
	}
	end := off
	for room > 0 || f.in.cur.holes(end, 1) == 0 {
		room -= f.in.cur.holes(end, 1)
		end = (end/chunkSize + 1) * chunkSize
	}
	return end - off
}

func (f *file) Truncate(size int64) error {
	defer f.fs.mu.Unlock()
	if err := f.use("truncate", os.O_RDONLY); err != nil {
		return err
	}
	if err := f.checkRange("truncate", size, 0); err != nil {
		return err
	}
	f.fs.change(f.in, func(seq uint64) { f.in.truncate(seq, size) })
	return nil
}

func (f *file) Allocate(off, n int64) error {
	return f.allocate("allocate", off, n, f.in.allocate)
}

func (f *file) Renew(off, n int64) error {
	return f.allocate("renew", off, n, f.in.renew)
}

// allocate does a change that fills the holes of [off, off+n).
func (f *file) allocate(op string, off, n int64, change func(seq uint64, off, n int64)) error {
	defer f.fs.mu.Unlock()
	if err := f.use(op, os.O_RDONLY); err != nil {
		return err
	}
	if err := f.checkRange(op, off, n); err != nil {
		return err
	}
	if n == 0 {
		return pathError(op, f.name, syscall.EINVAL)
	}
	if f.in.cur.holes(off, n) > f.fs.room() {
		return pathError(op, f.name, syscall.ENOSPC)
	}
	f.fs.change(f.in, func(seq uint64) { change(seq, off, n) })
	return nil
}

func (f *file) Sync() error {
	defer f.fs.mu.Unlock()
	if err := f.use("sync", none); err != nil {
		return err
	}
	f.in.sync()
	f.fs.written = f.fs.seq
	return nil
}

// FailSync is FS.FailSync for an open file, with or without a name.
func (f *file) FailSync() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.in.failSync(f.fs.seq)
}

func (f *file) Size() (length, allocated int64, err error) {
	defer f.fs.mu.Unlock()
	if err := f.use("stat", none); err != nil {
		return 0, 0, err
	}
	return f.in.cur.size, f.in.cur.blocks * chunkSize, nil
}

var _ vfs.Sparse = (*file)(nil)

// NextData counts what was allocated and never written among the holes.
func (f *file) NextData(off int64) (int64, error) {
	defer f.fs.mu.Unlock()
	if err := f.use("seek", none); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("seek", f.name, errNegative)
	}
	return f.in.cur.nextData(off), nil
}

// CloneFrom copies; a crash sees it as an ordinary write.
func (f *file) CloneFrom(src vfs.File) error {
	defer f.fs.mu.Unlock()
	if err := f.use("clone", os.O_RDONLY); err != nil {
		return err
	}
	from, ok := src.(*file)
	switch {
	case !ok || from.fs != f.fs:
		return pathError("clone", f.name, errors.ErrUnsupported)
	case from.closed:
		return pathError("clone", from.name, fs.ErrClosed)
	case from.access == os.O_WRONLY:
		return pathError("clone", from.name, syscall.EBADF)
	case f.in.cur.size != 0:
		return pathError("clone", f.name, syscall.EINVAL)
	case from.in.cur.blocks > f.fs.room():
		return pathError("clone", f.name, syscall.ENOSPC)
	}
	f.fs.change(f.in, func(seq uint64) {
		var b [chunkSize]byte
		for i, c := range from.in.cur.chunks {
			off := int64(i) * chunkSize
			if n := min(chunkSize, from.in.cur.size-off); c != nil && n > 0 {
				from.in.cur.readAt(b[:n], off)
				f.in.write(seq, b[:n], off)
			}
		}
		if f.in.cur.size < from.in.cur.size {
			f.in.truncate(seq, from.in.cur.size)
		}
	})
	return nil
}

var _ vfs.RangeCloner = (*file)(nil)

// CloneRange copies, whatever the alignment; a crash sees an ordinary write.
func (f *file) CloneRange(src vfs.File, from, n, off int64) error {
	defer f.fs.mu.Unlock()
	if err := f.use("share", os.O_RDONLY); err != nil {
		return err
	}
	in, ok := src.(*file)
	switch {
	case !ok || in.fs != f.fs:
		return pathError("share", f.name, errors.ErrUnsupported)
	case in.closed:
		return pathError("share", in.name, fs.ErrClosed)
	case in.access == os.O_WRONLY:
		return pathError("share", in.name, syscall.EBADF)
	case from < 0 || n < 0 || n > in.in.cur.size-from:
		return pathError("share", in.name, errors.ErrUnsupported)
	}
	if err := f.checkRange("share", off, n); err != nil {
		return err
	}
	if f.fits(off, n) < n {
		return pathError("share", f.name, syscall.ENOSPC)
	}
	b := make([]byte, n)
	in.in.cur.readAt(b, from)
	f.fs.change(f.in, func(seq uint64) { f.in.write(seq, b, off) })
	return nil
}

// WriteBack does nothing: that bytes may reach the medium before a Sync is a
// choice of CrashClone already.
func (f *file) WriteBack(off, n int64) {}

// Fd returns false: there is no descriptor.
func (f *file) Fd() (uintptr, bool) { return 0, false }

func (f *file) Close() error {
	defer f.fs.mu.Unlock()
	if err := f.use("close", none); err != nil {
		return err
	}
	f.closed = true
	f.in.opens--
	f.fs.release(f.in)
	return nil
}
