//go:build !linux

package mapping

import "os"

// Allocate gives f the length n: nothing is mapped here.
func Allocate(f *os.File, n int64) error { return f.Truncate(n) }
