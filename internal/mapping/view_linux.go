package mapping

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// MapShared maps n bytes of the open file fd from off on, shared with every
// other process that maps it. The file must be that long: the part of a
// mapping behind the end of its file raises SIGBUS. The descriptor may be
// closed afterwards.
func MapShared(fd uintptr, off int64, n int, writable bool) (*View, error) {
	if n <= 0 || off < 0 || off%int64(SystemPage()) != 0 {
		return nil, fmt.Errorf("map %d bytes at %d: %w", n, off, ErrRange)
	}
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	mem, err := mmap(0, uintptr(n), prot, unix.MAP_SHARED, fd, off)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes at %d: %w", n, off, err)
	}
	return &View{mem: mem[:n:n], writable: writable, unmap: munmap}, nil
}
