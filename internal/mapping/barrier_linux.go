package mapping

import "golang.org/x/sys/unix"

const (
	membarrierGlobalExpedited         = 1 << 1
	membarrierRegisterGlobalExpedited = 1 << 2
)

// RegisterBarrier lets Barrier calls of other processes reach this one. It
// reports false where the kernel has no such call (before Linux 4.16).
func RegisterBarrier() bool {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterGlobalExpedited, 0, 0)
	return errno == 0
}

// Barrier makes every running thread of every process that called
// RegisterBarrier pass a full memory barrier before it returns. With it, the
// side of a protocol that runs seldom pays for both: a store and a later load
// of the other side stay in order without a fence of its own. It reports
// false if it did nothing.
func Barrier() bool {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobalExpedited, 0, 0)
	return errno == 0
}
