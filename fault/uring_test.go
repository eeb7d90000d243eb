//go:build linux && (amd64 || arm64)

package fault

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uringParams is struct io_uring_params.
type uringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
		_                                                           uint64
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
		_                                                           uint64
	}
}

const (
	opReadFixed = 4
	opRead      = 22
)

// uring is a ring of one entry.
type uring struct {
	fd          int
	p           uringParams
	queues, sqe []byte
}

func openUring() (*uring, error) {
	const offSQEs, entry, event = 0x10000000, 64, 16
	u := new(uring)
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&u.p)), 0)
	if errno != 0 {
		return nil, errno
	}
	u.fd = int(fd)
	size := max(u.p.sq.array+4*u.p.sqEntries, u.p.cq.cqes+event*u.p.cqEntries)
	var err error
	if u.queues, err = unix.Mmap(u.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		u.sqe, err = unix.Mmap(u.fd, offSQEs, entry, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

func (u *uring) close() {
	for _, m := range [][]byte{u.queues, u.sqe} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	_ = unix.Close(u.fd)
}

// register makes dst the buffer of opReadFixed, which pins its pages.
func (u *uring) register(dst []byte) error {
	iov := unix.Iovec{Base: &dst[0], Len: uint64(len(dst))}
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(u.fd), 0, uintptr(unsafe.Pointer(&iov)), 1, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// read reads the beginning of a file into dst.
func (u *uring) read(op byte, fd int, dst []byte) (int, error) {
	const getEvents = 1
	clear(u.sqe)
	u.sqe[0] = op
	binary.NativeEndian.PutUint32(u.sqe[4:], uint32(fd))
	binary.NativeEndian.PutUint64(u.sqe[16:], uint64(uintptr(unsafe.Pointer(&dst[0]))))
	binary.NativeEndian.PutUint32(u.sqe[24:], uint32(len(dst)))
	// The array's only element is 0 already.
	atomic.AddUint32((*uint32)(unsafe.Pointer(&u.queues[u.p.sq.tail])), 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 1, 1, getEvents, 0, 0); errno != 0 {
		return 0, errno
	}
	result := int32(binary.NativeEndian.Uint32(u.queues[u.p.cq.cqes+8:]))
	if result < 0 {
		return 0, unix.Errno(-result)
	}
	return int(result), nil
}

// uringRead reads the beginning of a file into dst by a ring of its own.
func uringRead(fd int, dst []byte) (int, error) {
	u, err := openUring()
	if err != nil {
		return 0, err
	}
	defer u.close()
	return u.read(opRead, fd, dst)
}
