//go:build loomheap

package mapping

import (
	"errors"
	"fmt"
	"unsafe"
)

// OnHeap says that regions lie on the Go heap, as the build tag loomheap wants
// it: the race detector does not see memory of a mapping, and this is the same
// engine on memory that it sees. Nothing can be protected there and no file
// mapped, so stores are found by comparing, and the image is read.
const OnHeap = true

// Reserve allocates size bytes, aligned to align.
func Reserve(size, align int) (*Region, error) {
	if size <= 0 || align <= 0 || size%SystemPage() != 0 || align%SystemPage() != 0 || size+align < size {
		return nil, fmt.Errorf("reserve %d bytes aligned to %d: %w", size, align, ErrRange)
	}
	whole := make([]byte, size+align)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(whole))) & uintptr(align-1))
	return &Region{whole: whole, bytes: whole[skip : skip+size : skip+size]}, nil
}

// Base returns the address of the first byte.
func (r *Region) Base() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.bytes))) }

// MapAnon makes [off, off+n) zero.
func (r *Region) MapAnon(off, n int, prot Prot) error {
	if err := r.check("map anonymous", off, n); err != nil {
		return err
	}
	clear(r.bytes[off : off+n])
	return nil
}

// MapFile is not supported on the heap.
func (r *Region) MapFile(off, n int, prot Prot, fd uintptr, fileOff int64, shared bool) error {
	return fmt.Errorf("map a file on the heap: %w", errors.ErrUnsupported)
}

// Protect is not supported on the heap.
func (r *Region) Protect(off, n int, prot Prot) error {
	return fmt.Errorf("protect the heap: %w", errors.ErrUnsupported)
}

// Advise makes [off, off+n) zero for DontNeed, as it does anonymous memory.
func (r *Region) Advise(off, n int, a Advice) error {
	if a == DontNeed {
		return r.MapAnon(off, n, ReadWrite)
	}
	return r.check("advise", off, n)
}

// Release forgets the memory.
func (r *Region) Release() error {
	r.whole, r.bytes = nil, nil
	return nil
}
