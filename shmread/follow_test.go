package shmread

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// eventually polls: the deadline only ends a test that would fail anyway.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// rewrite is the original's way to wipe a segment: truncate, then write small
// pieces, in place.
func rewrite(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, piece := range [][]byte{{0x4E, 0x5A, 0x4D, 0x41}, {0, 2, 0x42, 0x43}, {80, 0, 0, 0}, {0, 0}, {0, 0}, make([]byte, 64)} {
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
}

// The file is truncated, unlinked and created, or replaced by rename, again
// and again under four readers: nobody dies, nobody reads a mixture, and
// everybody arrives at the newest record.
func TestTruncationsAndReplacements(t *testing.T) {
	rounds := soak(200, 2000)
	dir := t.TempDir()
	path := filepath.Join(dir, "shm")
	w := mustCreate(t, path)
	mustUpdate(t, w, record(0))
	r := mustOpen(t, path, &Options{FollowEvery: time.Millisecond, VMClock: writeVMClock(t, 0)})

	const readers = 4
	var newest [readers]atomic.Int64
	var torn, backwards, refused atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			var c ClockErrorBound
			for {
				select {
				case <-stop:
					return
				default:
				}
				runtime.Gosched() // the test has more goroutines than cores
				if r.Snapshot(&c) != nil {
					refused.Add(1)
					continue
				}
				n, whole := numberOf(&c)
				if !whole {
					torn.Add(1)
				}
				if n < newest[i].Load() {
					backwards.Add(1)
				}
				newest[i].Store(n)
			}
		})
	}
	for n := int64(1); n <= int64(rounds); n++ {
		w.Close()
		switch n % 3 {
		case 0:
			rewrite(t, path)
		case 1:
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		case 2:
			side := filepath.Join(dir, "side")
			s := mustCreate(t, side)
			mustUpdate(t, s, record(n))
			s.Close()
			if err := os.Rename(side, path); err != nil {
				t.Fatal(err)
			}
		}
		w = mustCreate(t, path)
		mustUpdate(t, w, record(n))
		for i := range newest {
			eventually(t, "a reader sees the newest record", func() bool { return newest[i].Load() == n })
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d rounds, %d reads refused", rounds, refused.Load())
	if torn.Load() != 0 || backwards.Load() != 0 {
		t.Errorf("%d torn, %d backwards", torn.Load(), backwards.Load())
	}
}

// A truncated file that nobody rebuilds is an error, at length 0 (a fault) as
// well as at a length inside the body (which reads as zeros).
func TestTruncatedFileIsRefused(t *testing.T) {
	for _, test := range []struct {
		length int64
		want   error
	}{{0, ErrNotInitialized}, {15, ErrNotInitialized}, {16, ErrMalformed}, {40, ErrMalformed}, {64, ErrMalformed}, {68, ErrMalformed}} {
		path := filepath.Join(t.TempDir(), "shm")
		w := mustCreate(t, path)
		mustUpdate(t, w, record(0))
		r := mustOpen(t, path, &Options{FollowEvery: -1})
		if err := os.Truncate(path, test.length); err != nil {
			t.Fatal(err)
		}
		var c ClockErrorBound
		if err := r.Snapshot(&c); !errors.Is(err, test.want) {
			t.Errorf("cut to %d: %v, want %v", test.length, err, test.want)
		}
		if c != (ClockErrorBound{}) {
			t.Errorf("cut to %d: a failed snapshot left %+v", test.length, c)
		}
		if test.length == 0 && !raceEnabled {
			if err := w.Update(&ClockErrorBound{Status: Synchronized}); !errors.Is(err, ErrMalformed) {
				t.Errorf("update of a file cut to 0: %v, want ErrMalformed", err)
			}
		}
		w.Close()
		mustUpdate(t, mustCreate(t, path), record(6))
		if err := r.Snapshot(&c); err != nil || c.BoundNsec != record(6).BoundNsec {
			t.Errorf("cut to %d, then rebuilt: %+v, %v", test.length, c, err)
		}
	}
}

// A file that grows while it is looked at is being rebuilt, one that is too
// short and stays so is malformed.
func TestHeaderOfAFileThatIsRebuilt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	mustUpdate(t, w, record(0))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [headerSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		t.Fatal(err)
	}
	whole, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 40); err != nil {
		t.Fatal(err)
	}
	cut, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := parseHeader(b[:]).checkIn(f, cut, false); !errors.Is(err, ErrMalformed) {
		t.Errorf("40 bytes: %v, want ErrMalformed", err)
	}
	if err := os.Truncate(path, whole.Size()); err != nil {
		t.Fatal(err)
	}
	if err := parseHeader(b[:]).checkIn(f, cut, false); !errors.Is(err, ErrNotInitialized) {
		t.Errorf("40 bytes, then whole: %v, want ErrNotInitialized", err)
	}
}

// A reader lets go of a file that vanished only for another one: the record of
// a daemon that stopped ages by itself.
func TestVanishedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	mustUpdate(t, w, record(2))
	r := mustOpen(t, path, &Options{FollowEvery: -1})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.follow()
	var c ClockErrorBound
	if err := r.Snapshot(&c); err != nil {
		t.Fatal(err)
	}
	w.Close()
	mustUpdate(t, mustCreate(t, path), record(4))
	r.follow()
	if err := r.Snapshot(&c); err != nil || c.BoundNsec != record(4).BoundNsec {
		t.Fatalf("after the file came back: %+v, %v", c, err)
	}
}

// A reader without a path of its own goes over to version 2's when that one
// becomes usable, and not before: version 1's file stays behind in an upgrade.
func TestUpgradeOfTheDaemon(t *testing.T) {
	dir := t.TempDir()
	v2, v1 := filepath.Join(dir, "shm0"), filepath.Join(dir, "shm")
	old := mustCreate(t, v1)
	mustUpdate(t, old, record(2))
	r := mustOpen(t, v1, &Options{FollowEvery: -1})
	r.paths = []string{v2, v1}
	var c ClockErrorBound
	check := func(what string, n int64) {
		t.Helper()
		r.follow()
		if err := r.Snapshot(&c); err != nil || c.BoundNsec != record(n).BoundNsec {
			t.Fatalf("%s: %+v, %v", what, c, err)
		}
	}
	check("no second file", 2)
	w := mustCreate(t, v2)
	check("a second file without a record", 2)
	mustUpdate(t, w, record(4))
	check("a second file", 4)
}

func TestLazyReaderWaitsForTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "shm")
	if _, err := Open(path, nil); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, ErrSyscall) {
		t.Fatalf("open of nothing: %v", err)
	}
	r := mustOpen(t, path, &Options{Lazy: true})
	var c ClockErrorBound
	if err := r.Snapshot(&c); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("snapshot of nothing: %v", err)
	}
	w := mustCreate(t, path)
	if err := r.Snapshot(&c); !errors.Is(err, ErrNotInitialized) {
		t.Fatalf("snapshot before the first update: %v", err)
	}
	mustUpdate(t, w, record(0))
	if err := r.Snapshot(&c); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := r.Snapshot(&c); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("snapshot after Close: %v", err)
	}
}
