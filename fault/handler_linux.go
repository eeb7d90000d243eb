//go:build amd64 || arm64

package fault

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxArenas is how many arenas can be open at once. The handler walks the
// whole table for each SIGSEGV that is not about the first of them.
const maxArenas = 32

// slots is what the handler reads: in BSS, never moved, never protected.
var slots [maxArenas]slot

// goHandler is where every fault goes that is not about an arena: the handler
// that was installed before, which is Go's.
var goHandler uintptr

var registry struct {
	sync.Mutex
	claimed   [maxArenas]bool
	installed bool
}

// onFault is the signal handler, in assembly: the kernel calls it with the C
// convention. It must not be called from Go.
func onFault()

// onFaultPC returns the address of onFault; a Go func value would be that of
// a wrapper.
func onFaultPC() uintptr

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

func rtSigaction(set, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(sigaction{}.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("rt_sigaction: %w", errno)
	}
	return nil
}

// install puts the handler in front of Go's, once in the life of the process.
// It is never put there twice: whoever came in front of it since may call it,
// and would be called by it, for ever.
func install() error {
	var now sigaction
	if err := rtSigaction(nil, &now); err != nil {
		return err
	}
	ours := onFaultPC()
	if registry.installed {
		if now.handler != ours {
			return fmt.Errorf("put in front of ours: %w", ErrForeignHandler)
		}
		return nil
	}
	const wanted = saSiginfo | saOnstack
	if now.handler <= 1 || now.flags&wanted != wanted {
		return fmt.Errorf("handler %#x, flags %#x: %w", now.handler, now.flags, ErrForeignHandler)
	}
	goHandler = now.handler
	// Flags, mask and restorer stay Go's: its mask blocks every signal, so
	// nothing nests in the handler.
	now.handler = ours
	if err := rtSigaction(&now, nil); err != nil {
		return err
	}
	registry.installed = true
	return nil
}

// claimSlot sets a line of the handler's table aside and sees to it that the
// handler is installed.
func claimSlot() (*slot, error) {
	registry.Lock()
	defer registry.Unlock()
	if err := install(); err != nil {
		return nil, err
	}
	for i, taken := range registry.claimed {
		if !taken {
			registry.claimed[i] = true
			return &slots[i], nil
		}
	}
	return nil, fmt.Errorf("%d of %d: %w", maxArenas, maxArenas, ErrTooManyArenas)
}

// publish lets the handler see the slot. The end comes last: as long as it is
// 0 no address lies below it.
func publish(s *slot, base uintptr, length int) {
	s.base.Store(base)
	s.end.Store(base + uintptr(length))
}

// releaseSlot withdraws a slot and gives it back. A slot that is not of the
// table is left alone.
func releaseSlot(s *slot) {
	registry.Lock()
	defer registry.Unlock()
	for i := range slots {
		if s != &slots[i] {
			continue
		}
		s.end.Store(0)
		s.base.Store(0)
		s.bits, s.summary = 0, 0
		s.guard.Store(0)
		s.low.Store(0)
		s.high.Store(0)
		s.overflow.Store(0)
		s.faults.Store(0)
		s.overflows.Store(0)
		s.moves.Store(0)
		registry.claimed[i] = false
	}
}
