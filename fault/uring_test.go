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

// uringRead reads the beginning of a file into dst by a ring of one entry.
func uringRead(fd int, dst []byte) (int, error) {
	const (
		offSQEs      = 0x10000000
		opRead       = 22
		getEvents    = 1
		entry, event = 64, 16
	)
	var p uringParams
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(int(ring))
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+event*p.cqEntries)
	queues, err := unix.Mmap(int(ring), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(queues)
	sqe, err := unix.Mmap(int(ring), offSQEs, entry, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(sqe)
	sqe[0] = opRead
	binary.NativeEndian.PutUint32(sqe[4:], uint32(fd))
	binary.NativeEndian.PutUint64(sqe[16:], uint64(uintptr(unsafe.Pointer(&dst[0]))))
	binary.NativeEndian.PutUint32(sqe[24:], uint32(len(dst)))
	// The array's only element is 0 already.
	atomic.AddUint32((*uint32)(unsafe.Pointer(&queues[p.sq.tail])), 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvents, 0, 0); errno != 0 {
		return 0, errno
	}
	result := int32(binary.NativeEndian.Uint32(queues[p.cq.cqes+8:]))
	if result < 0 {
		return 0, unix.Errno(-result)
	}
	return int(result), nil
}
