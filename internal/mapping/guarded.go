package mapping

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"unsafe"
)

// ErrFault reports that memory could not be accessed: the file behind a
// mapping was truncated, its device failed, or the page is protected.
var ErrFault = errors.New("mapping: memory fault")

// FaultError is a fault inside a guarded range. It wraps ErrFault.
type FaultError struct {
	Offset int // of the failing page or byte inside the range; memmove may report any byte of the page
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("mapping: memory fault at offset %d", e.Offset)
}

// Unwrap returns ErrFault.
func (e *FaultError) Unwrap() error { return ErrFault }

// Guarded calls f and turns a fault on an address inside mem into a
// *FaultError. Other panics, faults elsewhere included, go on. It covers the
// calling goroutine only: a goroutine started by f dies with its fault.
func Guarded(mem []byte, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			off, ok := FaultOffset(mem, r)
			if !ok {
				panic(r)
			}
			err = &FaultError{Offset: off}
		}
	}()
	return f()
}

// FaultOffset tells whether the recovered value is a memory fault inside mem,
// and where. The text of such a panic always speaks of a nil pointer; only its
// address tells the truth.
func FaultOffset(mem []byte, recovered any) (int, bool) {
	fault, ok := recovered.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok || len(mem) == 0 {
		return 0, false
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	off := fault.Addr() - base
	if off >= uintptr(len(mem)) {
		return 0, false
	}
	return int(off), true
}
