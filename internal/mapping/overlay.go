package mapping

import (
	"fmt"
	"unsafe"
)

// Overlay lays a T over the view's bytes from off on, for records whose words
// are read and written one by one. T must consist of sync/atomic's integers
// only, so that no plain load or store of a shared word can be written down.
// Offsets are the caller's constants: a T that is not aligned at off, or does
// not fit into the view, is a broken invariant and panics. The pointer is
// valid until Close.
func Overlay[T any](v *View, off int) *T {
	var t T
	size, align := int(unsafe.Sizeof(t)), int(unsafe.Alignof(t))
	if off < 0 || size == 0 || off > len(v.mem)-size || off%align != 0 {
		panic(fmt.Sprintf("mapping: no aligned %T of %d bytes at %d of %d bytes", t, size, off, len(v.mem)))
	}
	return (*T)(unsafe.Pointer(&v.mem[off]))
}
