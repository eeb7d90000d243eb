package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// iovMax is the kernel's UIO_MAXIOV: the most buffers of one pwritev.
const iovMax = 1024

// OpenFlags adds to the flags of an open what keeps it from waiting for the
// peer of something that is not a file, such as a named pipe; and from writing
// through a symbolic link (ELOOP): the file behind one may be anybody's, and
// its name is not made durable by a sync of the directory that was named.
func OpenFlags(flag int) int {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC) != 0 {
		flag |= unix.O_NOFOLLOW
	}
	return flag | unix.O_NONBLOCK
}

// osFile leaves opening, plain reads and writes, and the life of the
// descriptor to package os. Every other call goes through conn, which keeps
// the descriptor open until the call is over, whatever Close does meanwhile.
type osFile struct {
	*os.File
	conn syscall.RawConn
}

func newOSFile(f *os.File) (*osFile, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	file := &osFile{File: f, conn: conn}
	if err := file.control("open", requireRegular); err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

func requireRegular(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return unix.EISDIR
	}
	return fmt.Errorf("not a regular file (mode %#o): %w", st.Mode, unix.EINVAL)
}

// control runs call on the descriptor.
func (f *osFile) control(op string, call func(fd int) error) error {
	var err error
	if f.conn.Control(func(fd uintptr) { err = call(int(fd)) }) != nil {
		err = fs.ErrClosed // the only error of Control; its own text is not exported
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

// retryEINTR repeats a call that a signal may interrupt before it did
// anything.
func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (f *osFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	return writeVec(f, bufs, off, func(batch [][]byte, off int64) (n int, err error) {
		err = f.control("pwritev", func(fd int) error {
			return retryEINTR(func() (err error) {
				n, err = unix.Pwritev(fd, batch, off)
				return err
			})
		})
		return max(n, 0), err
	})
}

// writeVec calls pwritev until all is written. The call may stop anywhere.
func writeVec(f io.WriterAt, bufs [][]byte, off int64, pwritev func([][]byte, int64) (int, error)) (int64, error) {
	var done int64
	for len(bufs) > 0 {
		n, err := pwritev(bufs[:min(len(bufs), iovMax)], off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
		whole, rest := skip(bufs, n)
		if whole == 0 && rest == 0 {
			return done, io.ErrShortWrite
		}
		bufs = bufs[whole:]
		if rest == 0 {
			continue
		}
		// WriteAt ends the buffer, so that the caller's slice of slices
		// stays as it is.
		m, err := f.WriteAt(bufs[0][rest:], off+done)
		done += int64(m)
		if err != nil {
			return done, err
		}
		bufs = bufs[1:]
	}
	return done, nil
}

// skip tells how many whole buffers the first n bytes are, and how many bytes
// of the next one. Empty buffers that follow count as written.
func skip(bufs [][]byte, n int) (whole, rest int) {
	for whole < len(bufs) && n >= len(bufs[whole]) {
		n -= len(bufs[whole])
		whole++
	}
	return whole, n
}

func (f *osFile) Allocate(off, n int64) error {
	return f.control("fallocate", func(fd int) error {
		return retryEINTR(func() error {
			return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n)
		})
	})
}

// Renew takes away the pages of the cache, and with them what they remember of
// their blocks.
func (f *osFile) Renew(off, n int64) error {
	err := f.control("zero range", func(fd int) error {
		return retryEINTR(func() error {
			return unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		})
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// Sync does not retry EINTR: the kernel may have consumed the error of a
// failed writeback in the interrupted call, and a second call would then
// report success for bytes that are not on the medium (R4).
func (f *osFile) Sync() error {
	return f.control("fdatasync", unix.Fdatasync)
}

// fsyncDir does not retry EINTR either.
func fsyncDir(d *os.File) error {
	conn, err := d.SyscallConn()
	if err != nil {
		return err
	}
	return (&osFile{File: d, conn: conn}).control("fsync", unix.Fsync)
}

func (f *osFile) Size() (length, allocated int64, err error) {
	var st unix.Stat_t
	err = f.control("fstat", func(fd int) error {
		return retryEINTR(func() error { return unix.Fstat(fd, &st) })
	})
	if err != nil {
		return 0, 0, err
	}
	return st.Size, st.Blocks * 512, nil
}

var _ Sparse = (*osFile)(nil)

// NextData moves the descriptor's position, which nothing here depends on.
func (f *osFile) NextData(off int64) (next int64, err error) {
	err = f.control("seek", func(fd int) (err error) {
		next, err = unix.Seek(fd, off, unix.SEEK_DATA)
		switch err {
		case unix.ENXIO: // holes up to the end
			next, err = unix.Seek(fd, 0, unix.SEEK_END)
		case unix.EINVAL:
			err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		return err
	})
	return next, err
}

var _ RangeCloner = (*osFile)(nil)

func (f *osFile) CloneRange(src File, from, n, off int64) error {
	in, ok := src.Fd()
	if !ok || from < 0 || n <= 0 || off < 0 {
		return &fs.PathError{Op: "ficlonerange", Path: f.Name(), Err: errors.ErrUnsupported}
	}
	part := &unix.FileCloneRange{Src_fd: int64(in), Src_offset: uint64(from), Src_length: uint64(n), Dest_offset: uint64(off)}
	return f.control("ficlonerange", func(fd int) error {
		return unshared(retryEINTR(func() error { return unix.IoctlFileCloneRange(fd, part) }))
	})
}

// unshared makes an error that says that blocks can not be shared one that
// says that the caller has to copy: another file system, one without the call,
// or one whose files or offsets forbid it.
func unshared(err error) error {
	switch err {
	case unix.EXDEV, unix.ENOTTY, unix.EINVAL:
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func (f *osFile) CloneFrom(src File) error {
	from, ok := src.Fd()
	if !ok {
		return &fs.PathError{Op: "ficlone", Path: f.Name(), Err: errors.ErrUnsupported}
	}
	if length, _, err := f.Size(); err != nil {
		return err
	} else if length != 0 {
		return &fs.PathError{Op: "ficlone", Path: f.Name(), Err: fmt.Errorf("%d bytes long, want an empty file: %w", length, unix.EINVAL)}
	}
	return f.control("ficlone", func(fd int) error {
		return unshared(retryEINTR(func() error { return unix.IoctlFileClone(fd, int(from)) }))
	})
}

// WriteBack makes no promise, so there is no error either: a writeback that
// fails is reported by the next Sync.
func (f *osFile) WriteBack(off, n int64) {
	w := writeBacks.Get().(*writeBack)
	w.off, w.n = off, n
	_ = f.conn.Control(w.call)
	writeBacks.Put(w)
}

// writeBack is a call of sync_file_range. They are kept because a checkpoint
// makes one every few pages and allocates nothing for each.
type writeBack struct {
	off, n int64
	call   func(fd uintptr)
}

var writeBacks = sync.Pool{New: func() any {
	w := new(writeBack)
	w.call = func(fd uintptr) { _ = unix.SyncFileRange(int(fd), w.off, w.n, unix.SYNC_FILE_RANGE_WRITE) }
	return w
}}

func (f *osFile) Fd() (uintptr, bool) { return f.File.Fd(), true }
