package mapping

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps until the 32-bit word at off is woken, if it still holds
// val when the kernel looks. It returns nil for a wake-up and for a word that
// had already changed: look at the word again in both cases. A timeout of 0
// waits for ever; expiry is reported as unix.ETIMEDOUT, a signal as EINTR.
func (v *View) FutexWait(off int, val uint32, timeout time.Duration) error {
	word := v.Uint32(off)
	var ts *unix.Timespec
	if timeout > 0 {
		t := unix.NsecToTimespec(timeout.Nanoseconds())
		ts = &t
	}
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(val), uintptr(unsafe.Pointer(ts)), 0, 0)
	switch errno {
	case 0, unix.EAGAIN:
		return nil
	default:
		return fmt.Errorf("futex wait: %w", errno)
	}
}

// FutexWake wakes up to n sleepers on the word at off, in this and in other
// processes, and returns how many there were.
func (v *View) FutexWake(off, n int) (int, error) {
	word := v.Uint32(off)
	woken, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, uintptr(n), 0, 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("futex wake: %w", errno)
	}
	return int(woken), nil
}
