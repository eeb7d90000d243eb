package vmbusring

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reserve gives f the length n and the blocks for it. Without blocks the first
// store into a page of the mapping asks for one, and kills a process whose disk
// is full.
func reserve(f *os.File, n int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, 0, n); err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EOPNOTSUPP:
			return f.Truncate(n)
		default:
			return fmt.Errorf("reserve %d bytes: %w", n, err)
		}
	}
}
