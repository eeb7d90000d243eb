package errorfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
)

// everything calls each method of FS, File and Lock that can fail, and tells
// which call failed first.
func everything(fsys vfs.FS) (failed string, err error) {
	var f, g vfs.File
	var l vfs.Lock
	defer func() {
		if f != nil {
			f.Close()
		}
		if l != nil {
			l.Close()
		}
	}()
	b := make([]byte, 8)
	for _, step := range []struct {
		kind vfs.Kind
		do   func() error
	}{
		{vfs.Mkdir, func() error { return fsys.Mkdir("d", 0o700) }},
		{vfs.Create, func() (err error) { f, err = fsys.OpenFile("d/f", os.O_RDWR|os.O_CREATE, 0o600); return err }},
		{vfs.Allocate, func() error { return f.Allocate(0, 8) }},
		{vfs.Renew, func() error { return f.Renew(0, 8) }},
		{vfs.Write, func() error { _, err := f.WriteAt(b, 0); return err }},
		{vfs.WriteVec, func() error { _, err := f.WriteVec([][]byte{b, b}, 8); return err }},
		{vfs.Truncate, func() error { return f.Truncate(16) }},
		{vfs.Sync, func() error { return f.Sync() }},
		{vfs.Size, func() error { _, _, err := f.Size(); return err }},
		{vfs.Read, func() error { _, err := f.ReadAt(b, 0); return err }},
		{vfs.Create, func() (err error) { g, err = fsys.OpenFile("d/g", os.O_RDWR|os.O_CREATE, 0o600); return err }},
		{vfs.Clone, func() error { return g.CloneFrom(f) }},
		{vfs.Close, func() error { return g.Close() }},
		{vfs.Open, func() error {
			h, err := fsys.OpenFile("d/g", os.O_RDONLY, 0)
			if err == nil {
				f.Close()
				f = h
			}
			return err
		}},
		{vfs.Rename, func() error { return fsys.Rename("d/g", "d/h") }},
		{vfs.Stat, func() error { _, err := fsys.Stat("d/h"); return err }},
		{vfs.ReadDir, func() error { _, err := fsys.ReadDir("d"); return err }},
		{vfs.Remove, func() error { return fsys.Remove("d/h") }},
		{vfs.SyncDir, func() error { return fsys.SyncDir("d") }},
		{vfs.OpenLock, func() (err error) { l, err = fsys.OpenLock("d/lock"); return err }},
		{vfs.TakeLock, func() error { return l.TryLock(0, true) }},
		{vfs.SetOwner, func() error { return l.SetOwner(1) }},
		{vfs.Unlock, func() error { return l.Unlock(0) }},
		{vfs.TakeLock, func() error { return l.Lock(context.Background(), 0, true) }},
		{vfs.CloseLock, func() error { return l.Close() }},
	} {
		if err := step.do(); err != nil {
			return string(step.kind), err
		}
	}
	return "", nil
}

// Every method of the interfaces fails when its turn comes, with the errno.
func TestEveryOperation(t *testing.T) {
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EINTR} {
		kinds := map[vfs.Kind]bool{}
		n := 0
		for ; ; n++ {
			nth := &errorfs.Nth{N: n, Fault: errorfs.Fault{Err: errno}}
			var hit vfs.Kind
			nth.Match = func(op errorfs.Op) bool {
				if nth.Seen() == n {
					hit = op.Kind
					kinds[hit] = true
				}
				return true
			}
			failed, err := everything(errorfs.New(memfs.New(), nth))
			if nth.Injected() == 0 {
				if err != nil {
					t.Fatalf("nothing was injected, but %s failed: %v", failed, err)
				}
				break
			}
			if nth.Injected() != 1 {
				t.Errorf("operation %d: %d injected, want 1", n, nth.Injected())
			}
			if failed == "" && (hit == vfs.Close || hit == vfs.CloseLock) {
				continue // a close whose error everything does not look at
			}
			if failed != string(hit) || !errors.Is(err, errno) {
				t.Errorf("operation %d, %s, was let fail: got %v from %s, want %v", n, hit, err, failed, errno)
			}
		}
		if n < 24 || len(kinds) < 22 {
			t.Errorf("%d operations of %d kinds were reached: %v", n, len(kinds), kinds)
		}
	}
}

func store(t *testing.T, nth *errorfs.Nth) (*memfs.FS, vfs.File) {
	t.Helper()
	m := memfs.New()
	// Through oplog too: it must pass on what errorfs says.
	f, err := errorfs.New(oplog.New(m, oplog.Options{}), nth).OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return m, f
}

func only(kind vfs.Kind) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool { return op.Kind == kind }
}

func content(t *testing.T, m *memfs.FS) string {
	t.Helper()
	f, err := m.OpenFile("f", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	length, _, _ := f.Size()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, length))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPartial(t *testing.T) {
	short := errorfs.Fault{Err: io.ErrShortWrite, Partial: true}
	m, f := store(t, &errorfs.Nth{Match: only(vfs.Write), Fault: short})
	n, err := f.WriteAt([]byte("abcdefg"), 0)
	if n != 3 || !errors.Is(err, io.ErrShortWrite) || content(t, m) != "abc" {
		t.Errorf("WriteAt = %d, %v; content is %q", n, err, content(t, m))
	}

	m, f = store(t, &errorfs.Nth{Match: only(vfs.WriteVec), Fault: errorfs.Fault{Err: syscall.ENOSPC, Partial: true}})
	done, err := f.WriteVec([][]byte{[]byte("ab"), []byte("cdef"), []byte("gh")}, 0)
	if done != 4 || !errors.Is(err, syscall.ENOSPC) || content(t, m) != "abcd" {
		t.Errorf("WriteVec = %d, %v; content is %q", done, err, content(t, m))
	}

	_, f = store(t, &errorfs.Nth{Match: only(vfs.Read), Fault: errorfs.Fault{Err: syscall.EIO, Partial: true}})
	f.WriteAt([]byte("abcdef"), 0)
	b := make([]byte, 6)
	if n, err := f.ReadAt(b, 0); n != 3 || !errors.Is(err, syscall.EIO) || string(b[:n]) != "abc" {
		t.Errorf("ReadAt = %d, %v", n, err)
	}

	m, f = store(t, &errorfs.Nth{Match: only(vfs.Write), Fault: errorfs.Fault{Err: syscall.EIO}})
	if n, err := f.WriteAt([]byte("abc"), 0); n != 0 || err == nil || content(t, m) != "" {
		t.Errorf("a write that is not partial did %d bytes", n)
	}
}

func TestOnceAndSticky(t *testing.T) {
	for _, c := range []struct {
		sticky bool
		want   string
	}{{false, "ok ok EIO ok ok"}, {true, "ok ok EIO EIO EIO"}} {
		nth := &errorfs.Nth{N: 2, Match: only(vfs.Truncate), Sticky: c.sticky, Fault: errorfs.Fault{Err: syscall.EIO}}
		_, f := store(t, nth)
		var got []string
		for range 5 {
			f.Size() // does not match, does not count
			word := "ok"
			if err := f.Truncate(1); errors.Is(err, syscall.EIO) {
				word = "EIO"
			}
			got = append(got, word)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("sticky %v: %q, want %q", c.sticky, got, c.want)
		}
		if nth.Seen() != 5 || nth.Injected() != strings.Count(c.want, "EIO") {
			t.Errorf("seen %d, injected %d", nth.Seen(), nth.Injected())
		}
	}
}

// A Sync that errorfs lets fail leaves memfs's bytes clean and not durable.
func TestFailedSyncReachesMemfs(t *testing.T) {
	m, f := store(t, &errorfs.Nth{Match: only(vfs.Sync), Fault: errorfs.Fault{Err: syscall.EIO}})
	if err := m.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("new"), 0)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Sync: %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, m); got != "new" {
		t.Errorf("content is %q after a failed sync", got)
	}
	if got := content(t, m.CrashClone(memfs.Crash{})); got != "" {
		t.Errorf("after a power cut the content is %q: the second sync was believed", got)
	}
	f.WriteAt([]byte("new"), 0)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, m.CrashClone(memfs.Crash{})); got != "new" {
		t.Errorf("rewritten, synced, and the content is %q", got)
	}
}

func TestCloseClosesAnyway(t *testing.T) {
	m, f := store(t, &errorfs.Nth{Match: only(vfs.Close), Fault: errorfs.Fault{Err: syscall.EIO}})
	f.Allocate(0, 1)
	m.Remove("f")
	if err := f.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: %v", err)
	}
	if m.Used() != 0 {
		t.Error("the file is still open")
	}
}

// What the injector is told.
func TestOps(t *testing.T) {
	var got []string
	record := injectorFunc(func(op errorfs.Op) *errorfs.Fault {
		got = append(got, fmt.Sprintf("%s %s %s %d+%d", op.Kind, op.Name, op.NewName, op.Off, op.Len))
		return nil
	})
	if failed, err := everything(errorfs.New(memfs.New(), record)); err != nil {
		t.Fatal(failed, err)
	}
	want := []string{
		"mkdir d  0+0", "create d/f  0+0", "alloc d/f  0+8", "renew d/f  0+8", "write d/f  0+8", "writev d/f  8+16", "truncate d/f  16+0",
		"sync d/f  0+0", "size d/f  0+0", "read d/f  0+8", "create d/g  0+0", "clone d/g d/f 0+0", "close d/g  0+0",
		"open d/g  0+0", "close d/f  0+0", "rename d/g d/h 0+0", "stat d/h  0+0", "readdir d  0+0", "remove d/h  0+0",
		"syncdir d  0+0", "openlock d/lock  0+0", "lock d/lock  0+0", "owner d/lock  0+0", "unlock d/lock  0+0",
		"lock d/lock  0+0", "closelock d/lock  0+0", "close d/g  0+0", "closelock d/lock  0+0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

type injectorFunc func(errorfs.Op) *errorfs.Fault

func (f injectorFunc) Inject(op errorfs.Op) *errorfs.Fault { return f(op) }

func TestErrorsArePathErrors(t *testing.T) {
	e := errorfs.New(memfs.New(), &errorfs.Nth{Sticky: true, Fault: errorfs.Fault{Err: syscall.EIO}})
	var pathErr *fs.PathError
	if err := e.Remove("x"); !errors.As(err, &pathErr) || pathErr.Path != "x" {
		t.Errorf("Remove: %#v", err)
	}
	var linkErr *os.LinkError
	if err := e.Rename("x", "y"); !errors.As(err, &linkErr) || linkErr.New != "y" {
		t.Errorf("Rename: %#v", err)
	}
}
