package mapping

import (
	"sync/atomic"
	"unsafe"
)

// ReleaseUint64 stores x in a word of a view. The store is a release: who loads
// x sees everything stored before it. Unlike word.Store it is no fence, so that
// a later load may be done before it; in return it does not wait for a cache
// line that a peer has.
func ReleaseUint64(word *atomic.Uint64, x uint64) {
	releaseUint64((*uint64)(unsafe.Pointer(word)), x)
}

// ReleaseUint16 is ReleaseUint64 for the 16 bits at off, which must be a
// multiple of 2 inside the view: anything else panics. Bytes beside them are
// not written.
func (v *View) ReleaseUint16(off int, x uint16) {
	if !v.holds(off, 2) {
		panic(wordError{off, 2, len(v.mem)})
	}
	releaseUint16((*uint16)(unsafe.Pointer(&v.mem[off])), x)
}

// LoadUint16 returns the 16 bits at off, a multiple of 2; the aligned 32 bits
// around them must be inside the view; anything else panics. The load is an
// acquire. Go has no 16-bit atomics (golang/go#78781): the 32 bits are loaded
// and cut.
func (v *View) LoadUint16(off int) uint16 {
	at := off &^ 3
	if off&1 != 0 || !v.holds(at, 4) {
		panic(wordError{off, 2, len(v.mem)})
	}
	word := (*uint32)(unsafe.Pointer(unsafe.SliceData(v.mem[at:])))
	return uint16(atomic.LoadUint32(word) >> (8 * (off & 2)))
}
