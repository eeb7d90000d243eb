package shmring

import (
	"time"

	"loomstore/internal/mapping"
)

// futexWait sleeps on a word of the control block; every error is a reason to
// look again.
func futexWait(view *mapping.View, off int, val uint32, timeout time.Duration) {
	_ = view.FutexWait(off, val, timeout)
}

func futexWake(view *mapping.View, off int) {
	_, _ = view.FutexWake(off, 1) // fails only for an address that is gone: nobody sleeps there
}

// barrier is a full memory barrier in every process that has attached to a
// pair, where the kernel can do that.
func barrier() bool { return mapping.Barrier() }

func registerBarrier() bool { return mapping.RegisterBarrier() }
