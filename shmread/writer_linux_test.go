package shmread

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A zero AsOf is stamped with the coarse clock, never with the precise one,
// which is ahead of it.
func TestUpdateStampsCoarse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	coarse := func() Timespec {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
			t.Fatal(err)
		}
		return Timespec{ts.Sec, ts.Nsec}
	}
	for range 100 {
		before := coarse()
		mustUpdate(t, w, ClockErrorBound{Status: Synchronized})
		after := coarse()
		seg, err := Inspect(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		low, _ := before.nanoseconds()
		stamp, _ := seg.AsOf.nanoseconds()
		high, _ := after.nanoseconds()
		if stamp < low || stamp > high {
			t.Fatalf("as_of %s is not within [%s, %s]", seg.AsOf, before, after)
		}
	}
}
