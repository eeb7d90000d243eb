package shmread

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func readClock(id int32) (Timespec, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return Timespec{}, fmt.Errorf("%w: read clock %d: %w", ErrSyscall, id, err)
	}
	return Timespec{int64(ts.Sec), int64(ts.Nsec)}, nil
}

func monotonicNow() (int64, error) {
	ts, err := readClock(unix.CLOCK_MONOTONIC)
	return ts.Sec*second + ts.Nsec, err
}

// CoarseNow reads CLOCK_MONOTONIC_COARSE, the clock of AsOf and VoidAfter. The
// precise clock is up to a tick ahead of it: an AsOf from there is a causality
// breach to clients that read the coarse one.
func CoarseNow() (Timespec, error) { return readClock(unix.CLOCK_MONOTONIC_COARSE) }

// lockWriter keeps a second Writer away until f is closed. The original's
// writer takes no lock and is not noticed.
func lockWriter(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%w: lock %s: %w", ErrSyscall, f.Name(), err)
	}
	return nil
}
