package mapping

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// View is a window of fixed length onto memory shared with somebody else. The
// peer may change any byte at any moment: load each word once into a local,
// check the local, and never look again.
//
// A View may be used by many goroutines. Close must come after the last use:
// the memory is gone afterwards.
type View struct {
	mem      []byte
	writable bool
	unmap    func([]byte) error // nil for heap memory
}

// NewHeap returns a view of n zero bytes of the Go heap, aligned to 8: for
// tests, fake peers and peers in one process. It needs no Close.
func NewHeap(n int) *View {
	words := make([]uint64, (n+7)/8)
	mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*8)
	return &View{mem: mem[:n:n], writable: true}
}

// Len returns the length in bytes.
func (v *View) Len() int { return len(v.mem) }

// Writable reports whether stores through this view are allowed. A store
// through a read-only view of a file faults.
func (v *View) Writable() bool { return v.writable }

// Bytes returns the shared memory itself. Copy out of it once, then look only
// at the copy; words that carry synchronisation go through Uint32 and Uint64.
func (v *View) Bytes() []byte { return v.mem }

// Uint32 returns the word at off, which must be a multiple of 4 inside the
// view: offsets are the caller's constants or already validated, so anything
// else is a broken invariant and panics.
func (v *View) Uint32(off int) *atomic.Uint32 {
	if !v.holds(off, 4) {
		panic(wordError{off, 4, len(v.mem)})
	}
	return (*atomic.Uint32)(unsafe.Pointer(&v.mem[off]))
}

// Uint64 returns the word at off, which must be a multiple of 8 inside the
// view; anything else panics.
func (v *View) Uint64(off int) *atomic.Uint64 {
	if !v.holds(off, 8) {
		panic(wordError{off, 8, len(v.mem)})
	}
	return (*atomic.Uint64)(unsafe.Pointer(&v.mem[off]))
}

// holds reports whether the view has an aligned word of n bytes, a power of
// two, at off.
func (v *View) holds(off, n int) bool {
	return off >= 0 && off <= len(v.mem)-n && off&(n-1) == 0
}

// wordError is what a word outside a view panics with: a value, because a
// call would keep Uint32 and its like from being inlined.
type wordError struct{ off, size, length int }

func (e wordError) Error() string {
	return fmt.Sprintf("mapping: no aligned %d-byte word at %d of %d bytes", e.size, e.off, e.length)
}

// Close unmaps a file view. Closing a heap view, or closing twice, does nothing.
func (v *View) Close() error {
	if v.unmap == nil || v.mem == nil {
		return nil
	}
	mem := v.mem
	v.mem = nil
	return v.unmap(mem)
}
