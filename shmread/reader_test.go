package shmread

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func writeVMClock(t testing.TB, marker uint64) string {
	t.Helper()
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint32(b, vmclockMagic)
	binary.LittleEndian.PutUint32(b[4:], 4096)
	binary.LittleEndian.PutUint16(b[8:], 1)
	binary.LittleEndian.PutUint32(b[12:], 2)
	binary.LittleEndian.PutUint64(b[16:], marker)
	path := filepath.Join(t.TempDir(), "vmclock")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The generation has 15 bits that count. A record of 32,767 updates ago has
// the same one, and must not be taken for the newest, whichever field is the
// one that differs.
func TestGenerationComesRound(t *testing.T) {
	base := ClockErrorBound{AsOf: Timespec{10, 20}, VoidAfter: Timespec{1000, 0}, BoundNsec: 7, Status: Synchronized}
	for name, change := range map[string]func(*ClockErrorBound){
		"as_of sec":  func(c *ClockErrorBound) { c.AsOf.Sec++ },
		"as_of nsec": func(c *ClockErrorBound) { c.AsOf.Nsec++ },
		"void sec":   func(c *ClockErrorBound) { c.VoidAfter.Sec++ },
		"void nsec":  func(c *ClockErrorBound) { c.VoidAfter.Nsec++ },
		"bound":      func(c *ClockErrorBound) { c.BoundNsec++ },
		"marker":     func(c *ClockErrorBound) { c.DisruptionMarker++ },
		"drift":      func(c *ClockErrorBound) { c.MaxDriftPPB++ },
		"status":     func(c *ClockErrorBound) { c.Status = Disrupted },
		"support":    func(c *ClockErrorBound) { c.DisruptionSupport = true },
	} {
		for _, unguarded := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "shm")
			w := mustCreate(t, path)
			mustUpdate(t, w, base)
			r := mustOpen(t, path, &Options{Unguarded: unguarded})
			var c ClockErrorBound
			if err := r.Snapshot(&c); err != nil {
				t.Fatal(err)
			}
			want := base
			change(&want)
			for range 32767 {
				mustUpdate(t, w, want)
			}
			want.Version, want.Generation = 2, c.Generation
			if err := r.Snapshot(&c); err != nil || c != want {
				t.Errorf("%s: read %+v, %v, want %+v", name, c, err, want)
			}
		}
	}
}

// A page without a record is none, though a caller's new record holds the same
// zeros.
func TestZerosAreNoRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	mustUpdate(t, w, record(0))
	r := mustOpen(t, path, &Options{FollowEvery: -1})
	w.rebuild()
	for _, vergen := range []uint32{0, joinVergen(2, 0), joinVergen(2, 1)} {
		w.shared.vergen.Store(vergen)
		c := ClockErrorBound{Version: version(vergen), Generation: generation(vergen)}
		if err := r.Snapshot(&c); !errors.Is(err, ErrNotInitialized) {
			t.Errorf("version and generation %#x: %+v, %v, want ErrNotInitialized", vergen, c, err)
		}
	}
}

func TestErrnoIsReachable(t *testing.T) {
	_, err := Open(t.TempDir(), nil)
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno != syscall.EISDIR || !errors.Is(err, ErrSyscall) {
		t.Errorf("open of a directory: %v, want EISDIR", err)
	}
}

// Now must agree with what the system's clocks say.
func TestNowAgainstTheClocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	coarse, err := CoarseNow()
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, w, ClockErrorBound{VoidAfter: Timespec{coarse.Sec + 1000, 0}, BoundNsec: 1000, MaxDriftPPB: 50000, Status: Synchronized})
	r := mustOpen(t, path, nil)
	for range 1000 {
		early, err := monotonicNow()
		if err != nil {
			t.Fatal(err)
		}
		ours := r.clock.monotonic(time.Now())
		late, _ := monotonicNow()
		// Never early; late by no more than the calibration was off.
		if ours < early || ours > late+int64(time.Millisecond) {
			t.Fatalf("monotonic clock %d is outside [%d, %d]", ours, early, late)
		}
		before := time.Now()
		b, err := r.Now()
		after := time.Now()
		if err != nil || !b.Status.Trusted() {
			t.Fatalf("%+v, %v", b, err)
		}
		if b.Earliest.After(after) || b.Latest.Before(before) || b.Width() < 2000 {
			t.Fatalf("[%v, %v] does not meet [%v, %v]", b.Earliest, b.Latest, before, after)
		}
	}
}

func TestWaitSynchronized(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	coarse, err := CoarseNow()
	if err != nil {
		t.Fatal(err)
	}
	c := ClockErrorBound{AsOf: coarse, VoidAfter: Timespec{coarse.Sec + 1000, 0}, BoundNsec: 1000}
	mustUpdate(t, w, c)
	r := mustOpen(t, path, nil)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.WaitSynchronized(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled wait: %v", err)
	}
	done := make(chan error)
	go func() { done <- r.WaitSynchronized(context.Background()) }()
	c.AsOf, c.Status = Timespec{}, Synchronized
	mustUpdate(t, w, c)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := r.WaitSynchronized(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("wait after Close: %v", err)
	}
}

// The page is compared at every Now: a marker that moves away and comes back
// is noticed both times, a page that is replaced is found, and one that is cut, busy
// or of another version is an error.
func TestNowWatchesVMClock(t *testing.T) {
	path, page := filepath.Join(t.TempDir(), "shm"), writeVMClock(t, 42)
	w := mustCreate(t, path)
	coarse, err := CoarseNow()
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, w, ClockErrorBound{VoidAfter: Timespec{coarse.Sec + 1000, 0}, Status: Synchronized, DisruptionMarker: 42, DisruptionSupport: true})
	r := mustOpen(t, path, &Options{VMClock: page})
	put := func(off int64, v byte) {
		t.Helper()
		f, err := os.OpenFile(page, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{v}, off); err != nil {
			t.Fatal(err)
		}
	}
	check := func(trusted bool) {
		t.Helper()
		if b, err := r.Now(); err != nil || b.Status.Trusted() != trusted {
			t.Fatalf("%+v, %v, want trusted %v", b, err, trusted)
		}
	}
	check(true)
	put(16, 43)
	check(false)
	put(16, 42)
	check(true)
	put(12, 3)
	if _, err := r.Now(); !errors.Is(err, ErrBusy) {
		t.Fatalf("odd sequence: %v, want ErrBusy", err)
	}
	put(12, 4)
	check(true)
	put(8, 2)
	if _, err := r.Now(); !errors.Is(err, ErrVersionNotSupported) {
		t.Fatalf("version 2: %v, want ErrVersionNotSupported", err)
	}
	put(8, 1)
	check(true)
	if err := os.Rename(writeVMClock(t, 43), page); err != nil {
		t.Fatal(err)
	}
	r.follow()
	check(false)
	put(16, 42)
	check(true)
	if err := os.Truncate(page, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{ErrMalformed, ErrNotInitialized} { // the mapping faults, then the file is opened anew
		if _, err := r.Now(); !errors.Is(err, want) {
			t.Fatalf("cut page: %v, want %v", err, want)
		}
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	coarse, err := CoarseNow()
	if err != nil {
		t.Fatal(err)
	}
	rec := ClockErrorBound{VoidAfter: Timespec{coarse.Sec + 1000, 0}, Status: Synchronized, DisruptionMarker: 42, DisruptionSupport: true}
	mustUpdate(t, w, rec)
	for _, unguarded := range []bool{false, true} {
		r := mustOpen(t, path, &Options{Unguarded: unguarded, VMClock: writeVMClock(t, 42)})
		var c ClockErrorBound
		for name, f := range map[string]func(){
			"Snapshot":          func() { r.Snapshot(&c) },
			"Snapshot, changed": func() { w.Update(&rec); r.Snapshot(&c) },
			"Now":               func() { r.Now() },
			"Now, changed":      func() { w.Update(&rec); r.Now() },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s, unguarded %v: %v allocations", name, unguarded, n)
			}
		}
	}
}
