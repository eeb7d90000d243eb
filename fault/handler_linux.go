//go:build amd64 || arm64

package fault

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
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
	claimed [maxArenas]bool
}

// onFault is the signal handler, in assembly: the kernel calls it with the C
// convention. It must not be called from Go.
func onFault()

// onFaultPC returns the address of onFault; a Go func value would be that of
// a wrapper.
func onFaultPC() uintptr

// install puts the handler in front of Go's.
func install() error {
	err := mapping.InFront(unix.SIGSEGV, onFaultPC(), &goHandler)
	if errors.Is(err, mapping.ErrForeignHandler) {
		return fmt.Errorf("%w: %w", ErrForeignHandler, err)
	}
	return err
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
