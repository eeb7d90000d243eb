package shmread

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestNextGenerations(t *testing.T) {
	for _, test := range []struct{ g, during, after uint16 }{
		{0, 1, 2}, {2, 3, 4}, {5, 5, 6}, {0xFFFC, 0xFFFD, 0xFFFE}, {0xFFFE, 0xFFFF, 2}, {0xFFFF, 0xFFFF, 2},
	} {
		if during, after := nextGenerations(test.g); during != test.during || after != test.after {
			t.Errorf("after %d: %d, %d, want %d, %d", test.g, during, after, test.during, test.after)
		}
	}
}

// The bytes are those that the original's writer leaves.
func TestWriterAgainstFixture(t *testing.T) {
	want, err := os.ReadFile(fixture(t, "v2/sync.shm"))
	if err != nil {
		t.Fatal(err)
	}
	seg, err := Decode(want, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shm")
	mustUpdate(t, mustCreate(t, path), seg.ClockErrorBound)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("wrote\n% x, want\n% x", got, want)
	}
}

func TestRestartGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	mustUpdate(t, w, record(0))
	mustUpdate(t, w, record(1))
	if _, err := Create(path); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("second writer: %v, want EWOULDBLOCK", err)
	}
	w.Close()
	w = mustCreate(t, path)
	seg, err := Inspect(path, nil)
	if err != nil || seg.Generation != 4 {
		t.Fatalf("after the restart: %+v, %v", seg, err)
	}
	if n, whole := numberOf(&seg.ClockErrorBound); n != 1 || !whole {
		t.Errorf("the restart changed the record to %+v", seg)
	}
	mustUpdate(t, w, record(2))
	if seg, err = Inspect(path, nil); err != nil || seg.Generation != 6 {
		t.Errorf("after an update: %+v, %v", seg, err)
	}
}

// Whatever the file was before, it is a segment afterwards, at the same inode
// and not shorter.
func TestCreateRebuildsInPlace(t *testing.T) {
	v1 := append([]byte{0x4E, 0x5A, 0x4D, 0x41, 0, 2, 0x42, 0x43, 72, 0, 0, 0, 1, 0, 8, 0}, bytes.Repeat([]byte{0xFF}, 56)...)
	for name, content := range map[string][]byte{
		"empty": {}, "short": {1, 2, 3}, "garbage": bytes.Repeat([]byte{0xA5}, 300), "version 1": v1,
	} {
		path := filepath.Join(t.TempDir(), "shm")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		w := mustCreate(t, path)
		if _, err := Inspect(path, nil); !errors.Is(err, ErrNotInitialized) {
			t.Errorf("%s: before the first update %v, want ErrNotInitialized", name, err)
		}
		mustUpdate(t, w, record(3))
		seg, err := Inspect(path, nil)
		if err != nil || seg.Generation != 2 {
			t.Errorf("%s: %+v, %v", name, seg, err)
		}
		if n, whole := numberOf(&seg.ClockErrorBound); n != 3 || !whole {
			t.Errorf("%s: record %+v", name, seg)
		}
		after, err := os.Stat(path)
		if err != nil || !os.SameFile(before, after) || after.Size() != max(80, before.Size()) {
			t.Errorf("%s: replaced, or %d bytes", name, after.Size())
		}
	}
}

func TestUpdateRefusesWhatReadersWould(t *testing.T) {
	w := mustCreate(t, filepath.Join(t.TempDir(), "shm"))
	for name, c := range map[string]ClockErrorBound{
		"negative bound": {BoundNsec: -1},
		"status 4":       {Status: 4},
		"as_of nsec":     {AsOf: Timespec{1, second}},
		"void nsec":      {VoidAfter: Timespec{1, -1}},
	} {
		if err := w.Update(&c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	if w.shared.vergen.Load() != joinVergen(2, 0) {
		t.Error("a refused update wrote")
	}
	w.Close()
	if err := w.Update(&ClockErrorBound{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("update after Close: %v", err)
	}
}
