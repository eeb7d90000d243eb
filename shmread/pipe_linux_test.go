package shmread

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A pipe in the place of a file is refused at once: opening it to be read would
// wait for a writer, and with it every read, and Close.
func TestPipeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	mustUpdate(t, w, record(1))
	r := mustOpen(t, path, &Options{FollowEvery: -1, VMClock: writeVMClock(t, 0)})
	w.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	r.follow()
	if err := r.Snapshot(new(ClockErrorBound)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a pipe: %v, want ErrMalformed", err)
	}
	if _, err := InspectVMClock(path); !errors.Is(err, ErrSyscall) {
		t.Errorf("a pipe as VMClock: %v, want ErrSyscall", err)
	}
}
