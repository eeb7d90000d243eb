//go:build !linux

package shmring

import (
	"time"

	"loomstore/internal/mapping"
)

// No pair exists here, so nobody sleeps on its words.
func futexWait(view *mapping.View, off int, val uint32, timeout time.Duration) {}

func futexWake(view *mapping.View, off int) {}

func barrier() bool { return false }

func registerBarrier() bool { return false }
