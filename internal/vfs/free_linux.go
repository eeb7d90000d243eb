package vfs

import (
	"io/fs"
	"math"
	"math/bits"

	"golang.org/x/sys/unix"
)

var _ Freer = osFS{}

// Free is what statfs calls available: without the blocks kept for root.
// Quotas and other users can make it less.
func (osFS) Free(name string) (int64, error) {
	var st unix.Statfs_t
	if err := retryEINTR(func() error { return unix.Statfs(name, &st) }); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	hi, lo := bits.Mul64(st.Bavail, uint64(st.Frsize))
	if hi > 0 || lo > math.MaxInt64 {
		return math.MaxInt64, nil
	}
	return int64(lo), nil
}
