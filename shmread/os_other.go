//go:build !linux

package shmread

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("shmread: on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func monotonicNow() (int64, error) { return 0, unsupported() }

// CoarseNow is not supported here.
func CoarseNow() (Timespec, error) { return Timespec{}, unsupported() }

func lockWriter(*os.File) error { return unsupported() }
