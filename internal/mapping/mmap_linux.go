package mapping

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SystemPage returns the size of a page of the kernel, in bytes.
func SystemPage() int { return os.Getpagesize() }

func protBits(p Prot) int {
	switch p {
	case Read:
		return unix.PROT_READ
	case ReadWrite:
		return unix.PROT_READ | unix.PROT_WRITE
	default:
		return unix.PROT_NONE
	}
}

func adviceBits(a Advice) int {
	switch a {
	case DontNeed:
		return unix.MADV_DONTNEED
	case NoHugePage:
		return unix.MADV_NOHUGEPAGE
	case Random:
		return unix.MADV_RANDOM
	case PopulateRead:
		return unix.MADV_POPULATE_READ
	case DontFork:
		return unix.MADV_DONTFORK
	default:
		panic(fmt.Sprintf("mapping: unknown advice %d", a))
	}
}

// mmap is the raw call: x/sys/unix's Mmap keeps a table of what it returned
// and can not place a mapping at an address.
func mmap(addr, length uintptr, prot, flags int, fd uintptr, off int64) ([]byte, error) {
	p, _, errno := unix.Syscall6(unix.SYS_MMAP, addr, length, uintptr(prot), uintptr(flags), fd, uintptr(off))
	if errno != 0 {
		return nil, errno
	}
	// The memory belongs to the kernel, not to the heap: the address is
	// turned into a pointer through its own storage, which vet accepts.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), int(length)), nil
}

func munmap(b []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MUNMAP, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	if errno != 0 {
		return fmt.Errorf("unmap %d bytes: %w", len(b), errno)
	}
	return nil
}
