//go:build linux

package aiod_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"loomstore/aiod"

	"golang.org/x/sys/unix"
)

// TestWriteSync: what is written is there, and the sync comes behind the write.
func TestWriteSync(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		name := filepath.Join(t.TempDir(), "trace")
		trace := must(os.Create(name))
		defer trace.Close()
		o.Trace, o.Stderr = true, trace
		c := start(t, o)
		f := must(c.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600))
		var want []byte
		for i, n := range []int{0, 1, 16 << 10, 64 << 10, 64<<10 + 1, 1 << 20, 3 << 20} {
			seen := len(must(os.ReadFile(name)))
			p := bytes.Repeat([]byte{byte(i)}, n)
			if k, err := f.WriteSync(p, int64(len(want))); k != n || err != nil {
				t.Fatalf("WriteSync of %d bytes: %d, %v", n, k, err)
			}
			want = append(want, p...)
			ops := traceOps(o.ABI, string(must(os.ReadFile(name))[seen:]))
			if syncs := slices.Index(ops, "FSYNC"); syncs != len(ops)-1 || n > 0 && syncs == 0 {
				t.Errorf("WriteSync of %d bytes did %v", n, ops)
			}
		}
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read back something else, %v", err)
		}
		if _, err := f.WriteSync([]byte("x"), -1); err == nil {
			t.Error("a write before the beginning succeeded")
		}
	})
}

// TestWriteSyncFailure: the write's error does not hide behind the sync, and
// the sync's is final.
func TestWriteSyncFailure(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		readOnly := must(c.OpenFile(name, os.O_RDONLY, 0))
		if n, err := readOnly.WriteSync([]byte("new"), 0); n != 0 || !errors.Is(err, unix.EBADF) {
			t.Errorf("write to a file opened for reading: %d, %v", n, err)
		}
		if err := readOnly.Sync(); err != nil {
			t.Errorf("sync after a failed write: %v", err)
		}
		null := must(c.OpenFile("/dev/null", os.O_WRONLY, 0)) // takes bytes, and can not sync
		n, first := null.WriteSync([]byte("new"), 0)
		if n != 3 || !errors.Is(first, unix.EINVAL) {
			t.Errorf("sync of a device: %d, %v", n, first)
		}
		if err := null.Sync(); err != first {
			t.Errorf("again: %v, want the same %v", err, first)
		}
		if err := null.ResetSync(); err != nil {
			t.Error(err)
		}
		if err := null.Sync(); err == first || !errors.Is(err, unix.EINVAL) {
			t.Errorf("after a reset: %v, want a new failure", err)
		}
	})
}

// TestMark: the mark is told before the sequence is over, and with the error of
// the step that kept the sequence from it.
func TestMark(t *testing.T) {
	c := start(t, aiod.Options{Native: true})
	name := filepath.Join(t.TempDir(), "file")
	f := must(c.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600))
	blocker := must(os.OpenFile(name, os.O_RDWR, 0))
	defer blocker.Close()
	if err := lockFile(blocker, unix.F_OFD_SETLK); err != nil {
		t.Fatal(err)
	}
	s := c.Sequence()
	s.WriteAt(f, []byte("before"), 0)
	s.Mark()
	s.Lock(f, 0, 1, true)
	s.WriteAt(f, []byte("behind"), 0)
	s.Unlock(f, 0, 1)
	p := must(s.Submit())
	if err := p.Marked(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := must(os.ReadFile(name)); string(got) != "before" {
		t.Errorf("at the mark the file holds %q", got)
	}
	if err := unix.FcntlFlock(blocker.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Len: 1}); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Wait(t.Context()); n != 5 || err != nil {
		t.Errorf("%d steps, %v", n, err)
	}
	if err := lockFile(blocker, unix.F_OFD_SETLK); err != nil {
		t.Errorf("the lock was not given back: %v", err)
	}

	readOnly := must(c.OpenFile(name, os.O_RDONLY, 0))
	s = c.Sequence()
	s.WriteAt(readOnly, []byte("no"), 0)
	s.Mark()
	p = must(s.Submit())
	if err := p.Marked(t.Context()); !errors.Is(err, unix.EBADF) {
		t.Errorf("a mark that is not reached: %v", err)
	}
	if n, err := p.Wait(t.Context()); n != 0 || !errors.Is(err, unix.EBADF) {
		t.Errorf("%d steps, %v", n, err)
	}

	// The daemon dies before and behind its mark.
	for _, behind := range []bool{false, true} {
		s = c.Sequence()
		if behind {
			s.Mark()
			s.Lock(f, 0, 1, true) // which blocker has
		} else {
			s.Lock(f, 0, 1, true)
			s.Mark()
		}
		p = must(s.Submit())
		if behind {
			if err := p.Marked(t.Context()); err != nil {
				t.Error(err)
			}
		}
		killAll()
		if err := p.Marked(t.Context()); !behind && !errors.Is(err, aiod.ErrDied) {
			t.Errorf("died before the mark: %v", err)
		}
		if _, err := p.Wait(t.Context()); !errors.Is(err, aiod.ErrDied) {
			t.Errorf("died in the sequence: %v", err)
		}
	}
	s = c.Sequence()
	s.Mark()
	s.Mark()
	if _, err := s.Submit(); err == nil {
		t.Error("a sequence with two marks was accepted")
	}
}
