package mapping

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const align = 16384

func reserve(t *testing.T, size int) *Region {
	t.Helper()
	r, err := Reserve(size, align)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Release(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func file(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRegionStates(t *testing.T) {
	r := reserve(t, 8*align)
	if r.Base()%align != 0 || r.Len() != 8*align {
		t.Fatalf("base %#x, length %d", r.Base(), r.Len())
	}
	b := r.Bytes()
	load := func() error { return Guarded(b, func() error { sink += b[align]; return nil }) }
	if err := load(); !errors.Is(err, ErrFault) {
		t.Fatalf("reserved: %v", err)
	}
	if err := r.MapAnon(0, r.Len(), ReadWrite); err != nil {
		t.Fatal(err)
	}
	b[align] = 7
	if err := r.Protect(align, align, Read); err != nil {
		t.Fatal(err)
	}
	err := Guarded(b, func() error { b[align+9] = 1; return nil })
	var fe *FaultError
	if !errors.As(err, &fe) || fe.Offset != align+9 {
		t.Fatalf("store into a protected page: %v", err)
	}
	if err := r.Advise(align, align, DontNeed); err != nil {
		t.Fatal(err)
	}
	if b[align] != 0 {
		t.Fatal("dropped page kept its byte")
	}
}

var sink byte

// A private mapping never changes its file; a shared one does.
func TestMapFile(t *testing.T) {
	content := bytes.Repeat([]byte("loom"), align/2)
	f := file(t, content)
	r := reserve(t, 4*align)
	for _, shared := range []bool{false, true} {
		if err := r.MapFile(align, 2*align, ReadWrite, f.Fd(), 0, shared); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Bytes()[align:3*align], content) {
			t.Fatal("other bytes than the file's")
		}
		r.Bytes()[align] = 'L'
		onDisk := make([]byte, 1)
		if _, err := f.ReadAt(onDisk, 0); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]byte{false: 'l', true: 'L'}[shared]; onDisk[0] != want {
			t.Errorf("shared %v: the file holds %c", shared, onDisk[0])
		}
	}
}

func TestRangesAreChecked(t *testing.T) {
	if _, err := Reserve(0, align); !errors.Is(err, ErrRange) {
		t.Errorf("Reserve(0): %v", err)
	}
	r := reserve(t, 2*align)
	for _, c := range [][2]int{{-1, 1}, {1, 1}, {0, 3 * align}, {2 * align, align}, {align, -1}} {
		if err := r.MapAnon(c[0], c[1], Read); !errors.Is(err, ErrRange) {
			t.Errorf("MapAnon(%d, %d): %v", c[0], c[1], err)
		}
	}
	if err := r.Protect(2*align, 0, None); err != nil {
		t.Errorf("nothing at the end: %v", err)
	}
}

// A file that is cut short under a view raises SIGBUS, which Guarded turns
// into an error that says where.
func TestTruncatedFileIsAnError(t *testing.T) {
	f := file(t, make([]byte, 2*align))
	v, err := MapShared(f.Fd(), 0, 2*align, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := f.Truncate(align); err != nil {
		t.Fatal(err)
	}
	err = Guarded(v.Bytes(), func() error { sink += v.Bytes()[align+100]; return nil })
	var fe *FaultError
	if !errors.As(err, &fe) || fe.Offset/SystemPage() != align/SystemPage() {
		t.Fatalf("got %v", err)
	}
}

func TestGuardedLetsOtherPanicsThrough(t *testing.T) {
	other := reserve(t, align)
	for name, f := range map[string]func() error{
		"panic":           func() error { panic("x") },
		"fault elsewhere": func() error { other.Bytes()[0] = 1; return nil },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: swallowed", name)
				}
			}()
			_ = Guarded(make([]byte, align), f)
		}()
	}
	want := errors.New("mine")
	if err := Guarded(nil, func() error { return want }); err != want {
		t.Errorf("got %v", err)
	}
}

func TestFutex(t *testing.T) {
	f := file(t, make([]byte, align))
	v, err := MapShared(f.Fd(), 0, align, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.FutexWait(8, 1, 0); err != nil {
		t.Errorf("a word that has changed: %v", err)
	}
	if err := v.FutexWait(8, 0, time.Millisecond); !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("nobody wakes: %v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for v.Uint32(8).Load() == 0 {
			if err := v.FutexWait(8, 0, 0); err != nil && !errors.Is(err, unix.EINTR) {
				t.Error(err)
				return
			}
		}
	})
	v.Uint32(8).Store(1)
	if _, err := v.FutexWake(8, 1); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
