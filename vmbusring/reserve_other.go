//go:build !linux

package vmbusring

import "os"

// reserve gives f the length n: it will not be mapped, see mapping.MapShared.
func reserve(f *os.File, n int64) error { return f.Truncate(n) }
