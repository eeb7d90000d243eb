//go:build amd64 || arm64

package mapping

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func mapTruncatable(t *testing.T, f *os.File) *View {
	t.Helper()
	v, err := MapTruncatable(f.Fd(), 4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// A file is cut under its readers, which find zeros, also when it has grown
// again. A new view has the file's bytes.
func TestTruncatableViewSurvives(t *testing.T) {
	signal.Notify(make(chan os.Signal, 1), unix.SIGBUS) // takes nothing from the handler
	for range 100 {
		f := file(t, []byte{1, 2, 3, 4})
		v := mapTruncatable(t, f)
		word := v.Uint32(0)
		if got := word.Load(); got != 0x04030201 {
			t.Fatalf("read %#x", got)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				if got := word.Load(); got != 0 {
					t.Errorf("the file is gone, read %#x", got)
				}
			})
		}
		readers.Wait()
		if _, err := f.WriteAt([]byte{5, 6, 7, 8}, 0); err != nil {
			t.Fatal(err)
		}
		if got := word.Load(); got != 0 {
			t.Errorf("the file is back, read %#x through the old view", got)
		}
		if got := mapTruncatable(t, f).Uint32(0).Load(); got != 0x08070605 {
			t.Errorf("read %#x through a new view", got)
		}
	}
}

// A page is given out again after Close, and faults when it is used between.
func TestTruncatableViewIsGone(t *testing.T) {
	f := file(t, []byte{1, 2, 3, 4})
	v := mapTruncatable(t, f)
	b := v.Bytes()
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Guarded(b, func() error { sink += b[0]; return nil }); !errors.Is(err, ErrFault) {
		t.Fatalf("access behind Close: %v", err)
	}
	if again := mapTruncatable(t, f).Bytes(); &again[0] != &b[0] {
		t.Errorf("another page at %p, want %p again", &again[0], &b[0])
	}
}

// What is not in the window is Go's affair, as ever.
func TestOtherBusErrorsGoOn(t *testing.T) {
	f := file(t, []byte{1, 2, 3, 4})
	mapTruncatable(t, f) // the handler is there
	v, err := MapShared(f.Fd(), 0, 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	b := v.Bytes()
	if err := Guarded(b, func() error { sink += b[0]; return nil }); !errors.Is(err, ErrFault) {
		t.Fatalf("a view that is not truncatable: %v", err)
	}
}

func TestTruncatableViewIsRefused(t *testing.T) {
	f := file(t, []byte{1, 2, 3, 4})
	mapTruncatable(t, f)
	for _, n := range []int{0, -1, SystemPage() + 1} {
		if _, err := MapTruncatable(f.Fd(), n); !errors.Is(err, ErrRange) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := MapTruncatable(^uintptr(0), 4096); !errors.Is(err, unix.EBADF) {
		t.Errorf("no file: %v", err)
	}
	// To a second handler in front of its own it would look like this.
	next := nextBusHandler
	if err := InFront(unix.SIGBUS, onBusPC()+1, &next); !errors.Is(err, ErrForeignHandler) {
		t.Errorf("a foreign handler: %v", err)
	}
}
