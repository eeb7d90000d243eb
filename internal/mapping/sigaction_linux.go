//go:build amd64 || arm64

package mapping

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct, the same on both architectures.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// Flags of an action: the handler gets the signal's details, on a stack of its own.
const (
	saSiginfo = 0x4
	saOnstack = 0x08000000
)

func rtSigaction(signal syscall.Signal, set, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(sigaction{}.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("rt_sigaction: %w", errno)
	}
	return nil
}

// ErrForeignHandler reports that a signal is handled by somebody who can not
// share it: a handler was put in front of ours, or the present one does not
// take the signal's details on its own stack.
var ErrForeignHandler = errors.New("mapping: foreign signal handler")

// InFront puts a handler, in assembly, in front of the one that a signal has,
// and leaves the address of that one in next, once in the life of the process.
// It is never put there twice: whoever came in front of it since may call it,
// and would be called by it, for ever. Calls for one signal must not overlap.
// Errors: ErrForeignHandler, and the system's.
func InFront(signal syscall.Signal, ours uintptr, next *uintptr) error {
	var now sigaction
	if err := rtSigaction(signal, nil, &now); err != nil {
		return err
	}
	if *next != 0 {
		if now.handler != ours {
			return fmt.Errorf("put in front of ours: %w", ErrForeignHandler)
		}
		return nil
	}
	const wanted = saSiginfo | saOnstack
	if now.handler <= 1 || now.flags&wanted != wanted {
		return fmt.Errorf("handler %#x, flags %#x: %w", now.handler, now.flags, ErrForeignHandler)
	}
	*next = now.handler // before the first signal can come
	// Flags, mask and restorer stay Go's: its mask blocks every signal, so
	// nothing nests in the handler.
	now.handler = ours
	if err := rtSigaction(signal, &now, nil); err != nil {
		*next = 0
		return err
	}
	return nil
}
