package mapping

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Over returns a view of memory that the caller already has: a guest's pages,
// a dump, a part of another view. It must be aligned to 8 and stay valid as
// long as the view is used. Closing the view does nothing to it.
func Over(mem []byte) (*View, error) {
	if len(mem) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%8 != 0 {
		return nil, fmt.Errorf("view over %d bytes that are not aligned to 8: %w", len(mem), ErrRange)
	}
	return &View{mem: mem[:len(mem):len(mem)], writable: true}, nil
}

// LoadWord loads the first 8 bytes of shared memory in one atomic access, so
// that a peer can not change one half between two looks. The slice must be
// aligned to 8, as every multiple of 8 inside a View is.
func LoadWord(b []byte) uint64 {
	_ = b[7]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(unsafe.SliceData(b))))
}
