package shmring

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// pin binds this thread to one CPU until the returned function is called. With
// fewer CPUs it stays where it is.
func pin(cpu int) func() {
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if unix.SchedGetaffinity(0, &old) != nil || !old.IsSet(cpu) {
		return runtime.UnlockOSThread
	}
	one.Set(cpu)
	_ = unix.SchedSetaffinity(0, &one)
	return func() {
		_ = unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	}
}
