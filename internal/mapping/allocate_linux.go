package mapping

import (
	"os"

	"golang.org/x/sys/unix"
)

// Allocate gives f, which is to be mapped and shared, the length n and the
// space for it. Without that the first store into a page asks for space, and
// kills a process whose file system is full. What f holds stays.
func Allocate(f *os.File, n int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, 0, n); err {
		case unix.EINTR:
		case unix.EOPNOTSUPP: // as of ramfs, which is never full
			return f.Truncate(n)
		default:
			return err
		}
	}
}
