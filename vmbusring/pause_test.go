//go:build linux

package vmbusring_test

import (
	"syscall"
	"time"
)

// pause is how an end that polls waits for the other one, which may need the
// very processor that it runs on. looks counts the times in a row that it
// found nothing: on a busy machine, yielding alone gives away whole slices.
func pause(looks int) {
	if looks < 100 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		return
	}
	time.Sleep(10 * time.Microsecond)
}
