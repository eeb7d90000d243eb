//go:build !linux

package mapping

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// OnHeap says that regions lie on the Go heap: see region_heap_linux.go.
const OnHeap = false

func unsupported(what string) error {
	return fmt.Errorf("mapping: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

// SystemPage returns the size of a page of the kernel, in bytes.
func SystemPage() int { return os.Getpagesize() }

// Reserve is not supported here.
func Reserve(size, align int) (*Region, error) { return nil, unsupported("reserve") }

// Base returns 0: no region exists here.
func (r *Region) Base() uintptr { return 0 }

// MapAnon is not supported here.
func (r *Region) MapAnon(off, n int, prot Prot) error { return unsupported("map anonymous") }

// MapFile is not supported here.
func (r *Region) MapFile(off, n int, prot Prot, fd uintptr, fileOff int64, shared bool) error {
	return unsupported("map file")
}

// Protect is not supported here.
func (r *Region) Protect(off, n int, prot Prot) error { return unsupported("protect") }

// Advise is not supported here.
func (r *Region) Advise(off, n int, a Advice) error { return unsupported("advise") }

// Release does nothing: no region exists here.
func (r *Region) Release() error { return nil }
