package fuzz

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/shmread"
)

// clockKinds are the only errors that bytes can cause.
var clockKinds = []error{
	shmread.ErrNotInitialized, shmread.ErrMalformed, shmread.ErrVersionNotSupported, shmread.ErrCausalityBreach,
}

func checkClockError(t *testing.T, err error) {
	t.Helper()
	for _, kind := range clockKinds {
		if errors.Is(err, kind) {
			return
		}
	}
	if err != nil {
		t.Fatalf("an error of no kind: %v", err)
	}
}

// clockSegment is a version 2 segment, or its header alone in another version.
func clockSegment(version, generation uint16, size int) []byte {
	b := make([]byte, size)
	le := binary.LittleEndian
	le.PutUint32(b, 0x414D5A4E)
	le.PutUint32(b[4:], 0x43420200)
	le.PutUint32(b[8:], uint32(size))
	le.PutUint16(b[12:], version)
	le.PutUint16(b[14:], generation)
	le.PutUint64(b[16:], 100)
	le.PutUint64(b[32:], 1100)
	le.PutUint64(b[48:], 10_000)
	if version == 2 {
		le.PutUint32(b[64:], 50_000)
		le.PutUint32(b[68:], 1)
	}
	return b
}

func vmclockPage(seq uint32) []byte {
	b := make([]byte, 104)
	le := binary.LittleEndian
	le.PutUint32(b, 0x4B4C4356)
	le.PutUint32(b[4:], 104)
	le.PutUint16(b[8:], 1)
	le.PutUint32(b[12:], seq)
	le.PutUint64(b[16:], 42)
	return b
}

// A segment file of any bytes: what Decode says of the bytes is what a mapped
// reader says of the file; an interval is never inside out; and a writer can
// always make the file a segment again.
func FuzzClockSegment(f *testing.F) {
	for _, seed := range [][]byte{
		{}, clockSegment(2, 2, 80), clockSegment(2, 3, 80), clockSegment(2, 0xFFFE, 96), clockSegment(1, 2, 72),
		clockSegment(1, 2, 80), clockSegment(3, 2, 104), clockSegment(0x0303, 2, 104), clockSegment(2, 2, 80)[:79],
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	dir := f.TempDir()
	path, page := filepath.Join(dir, "shm"), filepath.Join(dir, "vmclock")
	if err := os.WriteFile(page, vmclockPage(2), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, allowV3 bool) {
		if len(b) > 1<<16 {
			return
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		o := &shmread.Options{UnverifiedV3: allowV3, VMClock: page, FollowEvery: -1}
		want, wantErr := shmread.Decode(b, o)
		checkClockError(t, wantErr)
		if !errors.Is(wantErr, shmread.ErrBusy) { // which takes the whole bounded wait
			checkMapped(t, path, o, want, wantErr)
		}

		w, err := shmread.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := w.Update(&shmread.ClockErrorBound{AsOf: shmread.Timespec{Sec: 1}, BoundNsec: 5, Status: shmread.Synchronized}); err != nil {
			t.Fatal(err)
		}
		if seg, err := shmread.Inspect(path, nil); err != nil || seg.BoundNsec != 5 || seg.Generation&1 != 0 {
			t.Fatalf("after an update: %+v, %v", seg, err)
		}
	})
}

func checkMapped(t *testing.T, path string, o *shmread.Options, want shmread.Segment, wantErr error) {
	t.Helper()
	got, err := shmread.Inspect(path, o)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("Inspect says %v, Decode %v", err, wantErr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Inspect and Decode differ:\n%s", diff)
	}
	r, err := shmread.Open(path, o)
	if err != nil {
		checkClockError(t, err)
		if wantErr == nil {
			t.Fatalf("Open refuses what Decode accepts: %v", err)
		}
		return
	}
	defer r.Close()
	var c shmread.ClockErrorBound
	if err := r.Snapshot(&c); (err == nil) != (wantErr == nil) || c != want.ClockErrorBound {
		t.Fatalf("Snapshot says %+v, %v; Decode %+v, %v", c, err, want, wantErr)
	}
	bound, err := r.Now()
	checkClockError(t, err)
	if err == nil && bound.Latest.Before(bound.Earliest) {
		t.Fatalf("interval inside out: %+v", bound)
	}
}

// A VMClock page of any bytes.
func FuzzVMClock(f *testing.F) {
	for _, seed := range [][]byte{{}, vmclockPage(0), vmclockPage(2), vmclockPage(2)[:103], make([]byte, 104)} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "vmclock")
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 || len(b) > 12 && b[12]&1 != 0 { // an odd sequence takes the whole bounded wait
			return
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		v, err := shmread.InspectVMClock(path)
		checkClockError(t, err)
		if err == nil && (v.Marker != binary.LittleEndian.Uint64(b[16:]) || v.Seq != binary.LittleEndian.Uint32(b[12:])) {
			t.Fatalf("read %+v of % x", v, b)
		}
	})
}
