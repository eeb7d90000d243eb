//go:build (!amd64 && !arm64) || race

package mapping

import (
	"sync/atomic"
	"unsafe"
)

// On other processors, and under the race detector, which would take the plain
// store for a race and does not see what assembly does, the atomics of Go stand
// in.

func releaseUint64(p *uint64, x uint64) { atomic.StoreUint64(p, x) }

// releaseUint16 exchanges half of the aligned 32 bits around p. The other half
// may be the peer's: it is never written back other than it was.
func releaseUint16(p *uint16, x uint16) {
	at := uintptr(unsafe.Pointer(p))
	word := (*uint32)(unsafe.Add(unsafe.Pointer(p), -int(at&2)))
	shift := 8 * (at & 2)
	for {
		old := atomic.LoadUint32(word)
		if atomic.CompareAndSwapUint32(word, old, old&^(0xffff<<shift)|uint32(x)<<shift) {
			return
		}
	}
}
