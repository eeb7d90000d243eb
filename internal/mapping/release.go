package mapping

import "unsafe"

// ReleaseUint64 stores x in the word at off, which must be a multiple of 8
// inside the view: anything else panics. The store is a release: who loads x
// sees everything stored before it. Unlike the Store of an atomic.Uint64 it is
// no fence, so that a later load may be done before it; in return it does not
// wait for a cache line that a peer has.
func (v *View) ReleaseUint64(off int, x uint64) {
	v.mustHold(off, 8)
	releaseUint64((*uint64)(unsafe.Pointer(&v.mem[off])), x)
}

// ReleaseUint16 is ReleaseUint64 for 16 bits: off must be a multiple of 2.
// Bytes beside the word are not written. To load one, load the aligned 32 bits
// around it through Uint32.
func (v *View) ReleaseUint16(off int, x uint16) {
	v.mustHold(off, 2)
	releaseUint16((*uint16)(unsafe.Pointer(&v.mem[off])), x)
}
