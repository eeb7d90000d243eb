package aiod

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

// executor carries out requests against the file system. Safe for concurrent
// use; results go to the shared memory, errors of a request into its err.
type executor struct {
	abi   ABI
	view  *mapping.View
	shmfd int
	files generations
	trace func(format string, args ...any) // nil: silent
	// slow is set once a file was opened whose reads may wait for somebody.
	slow atomic.Bool
}

// perform carries out the request at off, decoded already or refused with why.
func (x *executor) perform(r *Request, why error) {
	err := why
	if err == nil {
		err = x.do(r)
	}
	if err != nil {
		x.fail(r, err)
	}
	if x.trace != nil {
		x.trace("aiod: %v at %d: err %d\n", r.Op, r.Off, traced(err))
	}
}

func traced(err error) uint32 {
	if err == nil {
		return 0
	}
	return errnoFor(err)
}

// fail stores the error and what goes with it (spec section 1, results).
func (x *executor) fail(r *Request, err error) {
	mem := x.view.Bytes()
	var re *RequestError
	if errors.As(err, &re) && re.Mute {
		return
	}
	binary.LittleEndian.PutUint32(mem[r.Off+offErr:], errnoFor(err))
	const minusOne = ^uint64(0)
	switch r.Op {
	case OpNop: // a client may look at nothing else; what was written it says itself
		if re != nil {
			binary.LittleEndian.PutUint64(mem[r.Off+offNopSize:], 0)
		}
	case OpRead, OpWrite, OpReaddir:
		if inside(uint64(len(mem)), r.Off, fhopSize) {
			binary.LittleEndian.PutUint64(mem[r.Off+offLen:], minusOne)
		}
	case OpReadlink:
		binary.LittleEndian.PutUint64(mem[r.Off+offBufSize:], minusOne)
	}
}

func (x *executor) do(r *Request) error {
	mem := x.view.Bytes()
	switch r.Op {
	case OpNop:
		return x.nop(r)
	case OpUnlink:
		return unix.Unlink(r.Path1)
	case OpLink:
		return unix.Link(r.Path1, r.Path2)
	case OpSymlink:
		return unix.Symlink(r.Path1, r.Path2)
	case OpRename:
		return unix.Rename(r.Path1, r.Path2)
	case OpMkdir:
		return unix.Mkdir(r.Path1, r.Mode)
	case OpReadlink:
		target, err := readlink(unix.AT_FDCWD, r.Path1, int(min(r.Size, pathMax)))
		if err != nil {
			return err
		}
		copy(mem[r.Off+offPath:], target)
		binary.LittleEndian.PutUint64(mem[r.Off+offBufSize:], uint64(len(target)))
	case OpStat, OpLstat:
		var st unix.Stat_t
		flags := 0
		if r.Op == OpLstat {
			flags = unix.AT_SYMLINK_NOFOLLOW
		}
		if err := unix.Fstatat(unix.AT_FDCWD, r.Path1, &st, flags); err != nil {
			return err
		}
		copy(mem[r.Off+offPath:], statOf(&st).encode())
	case OpStatvfs:
		var st unix.Statfs_t
		if err := retry(func() error { return unix.Statfs(r.Path1, &st) }); err != nil {
			return err
		}
		copy(mem[r.Off+offPath:], statvfsOf(&st).encode())
	case OpGetcwd:
		dir, err := workingDir(r.Path1)
		if err != nil {
			return err
		}
		switch { // as getcwd(3) tells them apart
		case r.Size == 0:
			return unix.EINVAL
		case uint64(len(dir)) >= r.Size:
			return unix.ERANGE
		}
		copy(mem[r.Off+offPath:], dir+"\x00")
	case OpOpen, OpOpendir:
		return x.open(r)
	case OpClose, OpClosedir:
		return x.files.closed(fileKey{r.Op == OpClosedir, r.file(mem).handle})
	default:
		return x.onFile(r)
	}
	return nil
}

// nop zeroes the request and what follows by writing to the file, which makes
// the blocks exist: a full disk is an error here, not a SIGBUS later.
func (x *executor) nop(r *Request) error {
	zeros := make([]byte, min(r.Size, 64<<10))
	done, err := uint64(0), error(nil)
	for done < r.Size && err == nil {
		var n int
		n, err = writeAt(x.shmfd, zeros[:min(r.Size-done, uint64(len(zeros)))], int64(r.Off+done))
		done += uint64(max(n, 0))
	}
	binary.LittleEndian.PutUint64(x.view.Bytes()[r.Off+offNopSize:], done)
	return err
}

// open starts a generation of the handle, also when it fails.
func (x *executor) open(r *Request) error {
	mem := x.view.Bytes()
	ref := r.file(mem)
	key := fileKey{r.Op == OpOpendir, ref.handle}
	f, err := x.openPath(r, int(ref.flags))
	if err == nil && !key.dir {
		binary.LittleEndian.PutUint64(mem[r.FH+fileDev:], f.id.dev)
		binary.LittleEndian.PutUint64(mem[r.FH+fileIno:], f.id.ino)
	}
	if full := x.files.opened(key, f); full != nil {
		if f != nil {
			f.release()
		}
		return full
	}
	return err
}

func (x *executor) openPath(r *Request, flags int) (*openFile, error) {
	path, err := r.cstring(x.view.Bytes(), r.FH+filePath)
	if err != nil {
		return nil, err
	}
	dir := r.Op == OpOpendir || r.Op == OpReaddir
	if dir {
		flags = unix.O_RDONLY | unix.O_DIRECTORY
	}
	fd, err := openAt(unix.AT_FDCWD, path, flags, r.Mode)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("identify %q: %w", path, err)
	}
	if st.Mode&modeType != unix.S_IFREG && st.Mode&modeType != modeDir {
		x.slow.Store(true)
	}
	f := newOpenFile(fd)
	if dir {
		f.id.path = path
	} else {
		f.id.dev, f.id.ino = uint64(st.Dev), st.Ino
	}
	return f, nil
}

// file finds the request's file. One that another daemon opened is opened here
// by its path; it must still be the same file.
func (x *executor) file(r *Request) (*openFile, error) {
	mem := x.view.Bytes()
	ref := r.file(mem)
	key := fileKey{r.Op == OpReaddir, ref.handle}
	id := identity{dev: ref.dev, ino: ref.ino}
	if key.dir {
		path, err := r.cstring(mem, r.FH+filePath)
		if err != nil {
			return nil, err
		}
		id = identity{path: path}
	}
	if f := x.files.find(key, id); f != nil {
		return f, nil
	}
	f, err := x.openPath(r, int(ref.flags)&^(unix.O_CREAT|unix.O_EXCL|unix.O_TRUNC))
	if err != nil {
		return nil, err
	}
	if !key.dir && f.id != id {
		f.release()
		return nil, unix.ESTALE
	}
	f.acquire()
	if err := x.files.reopened(key, f); err != nil {
		f.release()
		f.release()
		return nil, err
	}
	return f, nil
}

func (x *executor) onFile(r *Request) error {
	f, err := x.file(r)
	if err != nil {
		return err
	}
	defer f.release()
	mem := x.view.Bytes()
	n := 0
	switch r.Op {
	case OpFsync:
		return retry(func() error { return unix.Fsync(f.fd) })
	case OpFtrunc:
		return retry(func() error { return unix.Ftruncate(f.fd, r.Pos) })
	case OpFstat:
		var st unix.Stat_t
		if err := unix.Fstat(f.fd, &st); err != nil {
			return err
		}
		copy(mem[r.Off+offFstat:], statOf(&st).encode())
		return nil
	case OpRead:
		n, err = readAt(f.fd, mem[r.Buf:r.Buf+r.Len], r.Pos)
	case OpWrite:
		n, err = writeAt(f.fd, mem[r.Buf:r.Buf+r.Len], r.Pos)
	case OpReaddir:
		n, err = x.readdir(f, mem[r.Buf:r.Buf+r.Len])
	}
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(mem[r.Off+offLen:], uint64(n))
	return nil
}

// readdir stores one entry of the directory and returns its room, 0 at the end.
func (x *executor) readdir(f *openFile, to []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dir == nil {
		f.dir = new(dirStream)
	}
	d, ok, err := f.dir.next(f.fd)
	if err != nil || !ok {
		return 0, err
	}
	if direntName+len(d.name)+1 > len(to) {
		f.dir.unread()
		return 0, unix.EINVAL
	}
	return copy(to, d.encode(min(len(to), direntSize))), nil
}
