package fault

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrForeignHandler reports that SIGSEGV is handled by somebody this package
// can not share it with: a library's handler was put in front of ours, or the
// present one does not take the signal's details on its own stack.
var ErrForeignHandler = errors.New("fault: foreign SIGSEGV handler")

// ErrTooManyArenas reports that the fault handler's table is full.
var ErrTooManyArenas = errors.New("fault: too many arenas open in this process")

// ErrRange reports a page or byte range outside the arena.
var ErrRange = errors.New("fault: range outside the arena")

// ErrConfig reports a Config that describes no arena.
var ErrConfig = errors.New("fault: invalid configuration")

// ErrNotTouched reports that a system call was to store into a page of the
// arena that it may not write to.
var ErrNotTouched = errors.New("fault: system call into a clean page of the arena: call Touch on the range first")

// ExplainEFAULT adds to an error that wraps EFAULT what it most likely means
// when the buffer lay in the arena: the kernel does not raise a signal for a
// page that is protected, it refuses the call. The result wraps both
// ErrNotTouched and err; any other error is returned as it is.
func ExplainEFAULT(err error) error {
	if err == nil || !errors.Is(err, syscall.EFAULT) {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrNotTouched, err)
}
