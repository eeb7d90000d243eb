package aiod

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// serveControl serves operations on names until the client is gone, each in a
// goroutine of its own, and returns when all are done.
func (s *nativeServer) serveControl() error {
	var running sync.WaitGroup
	defer running.Wait()
	room := make(chan struct{}, maxControl)
	buf := make([]byte, controlMax)
	for {
		n, fds, err := receiveMessage(s.control, buf, 1)
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, ErrProtocol) {
			return err
		}
		var r controlRequest
		if err == nil {
			r, err = decodeControl(buf[:n])
		}
		room <- struct{}{}
		running.Go(func() {
			s.serveName(&r, fds, err)
			<-room
		})
	}
}

// serveName carries out one request, or reports why it can not be.
func (s *nativeServer) serveName(r *controlRequest, fds []int, err error) {
	defer closeAll(fds)
	a := controlAnswer{id: r.id}
	pass := -1
	if err == nil {
		pass, err = s.onName(r, fds, &a)
		if s.trace != nil {
			s.tracedName(r, err)
		}
	}
	if err != nil {
		a = controlAnswer{id: r.id, errno: errnoFor(err)}
	}
	sendMessage(s.control, a.encode(), pass) // a client that is gone gets none
	if pass >= 0 {
		unix.Close(pass)
	}
}

// onName carries out the operation. A descriptor that it returns is passed to
// the client and then closed.
func (s *nativeServer) onName(r *controlRequest, fds []int, a *controlAnswer) (pass int, err error) {
	pass = -1
	switch r.op {
	case OpOpen:
		fd, err := s.open(r.path1, int(r.flags), r.mode)
		if err != nil {
			return pass, err
		}
		if pass, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			unix.Close(fd)
			return -1, err
		}
		return pass, s.adopt(fd, a)
	case opAdopt:
		if len(fds) != 1 {
			return pass, unix.EBADF
		}
		fd, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return pass, err
		}
		return pass, s.adopt(fd, a)
	case OpUnlink, opRmdir, OpLink, OpSymlink, OpRename, OpMkdir:
		return pass, s.change(r.op, r.path1, r.path2, r.mode)
	case OpStat, OpLstat:
		return pass, s.inspect(r.path1, r.op == OpStat, func(fd int) error {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			a.payload = make([]byte, nativeStatSize)
			statOf(&st).encodeNative(a.payload)
			return nil
		})
	case OpStatvfs:
		return pass, s.inspect(r.path1, true, func(fd int) error {
			var st unix.Statfs_t
			if err := unix.Fstatfs(fd, &st); err != nil {
				return err
			}
			a.payload = statvfsOf(&st).encode()
			return nil
		})
	case OpReadlink:
		return pass, s.inspect(r.path1, false, func(fd int) error {
			target, err := readlink(fd, "", pathMax)
			if err == unix.ENOENT { // how the kernel says by descriptor that it is no link
				err = unix.EINVAL
			}
			a.payload = []byte(target)
			return err
		})
	case OpGetcwd:
		return pass, s.inspect(r.path1, true, func(fd int) error {
			dir, err := pathOf(fd)
			a.payload = []byte(dir)
			return err
		})
	case OpReaddir:
		return pass, s.listing(r.handle, a)
	}
	return pass, unix.ENOSYS
}

// adopt gives an open descriptor a handle.
func (s *nativeServer) adopt(fd int, a *controlAnswer) error {
	f := newOpenFile(fd)
	h, err := s.files.add(f)
	if err != nil {
		f.release()
	}
	a.handle = h
	return err
}

// listing returns the next records of a directory as the kernel gives them;
// none is the end.
func (s *nativeServer) listing(h uint64, a *controlAnswer) error {
	f, err := s.files.find(h)
	if err != nil {
		return err
	}
	defer f.release()
	f.mu.Lock()
	defer f.mu.Unlock()
	buf := make([]byte, controlReplyMax-controlReply)
	n, err := getdents(f.fd, buf)
	a.payload = buf[:n]
	return err
}
