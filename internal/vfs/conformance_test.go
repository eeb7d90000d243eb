package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/internal/aiodtest"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
)

// systems are all file systems of this module, each with an empty directory.
var systems = []struct {
	name string
	make func(t *testing.T) (fsys vfs.FS, dir string)
}{
	{"os", func(t *testing.T) (vfs.FS, string) { return vfs.OS, t.TempDir() }},
	{"memfs", func(t *testing.T) (vfs.FS, string) { return memDir(t) }},
	{"errorfs", func(t *testing.T) (vfs.FS, string) {
		m, dir := memDir(t)
		return errorfs.New(m, &errorfs.Nth{N: -1}), dir
	}},
	{"oplog", func(t *testing.T) (vfs.FS, string) {
		m, dir := memDir(t)
		return oplog.New(m, oplog.Options{Root: dir, Reads: true, Bytes: true}), dir
	}},
	{"aiod", func(t *testing.T) (vfs.FS, string) {
		return aiodfs.New(aiodtest.Start(t, aiod.Options{})), t.TempDir()
	}},
	{"errorfs over oplog over os", func(t *testing.T) (vfs.FS, string) {
		return errorfs.New(oplog.New(vfs.OS, oplog.Options{}), &errorfs.Nth{N: -1}), t.TempDir()
	}},
}

func memDir(t *testing.T) (*memfs.FS, string) {
	m := memfs.New()
	if err := m.Mkdir("/store", 0o700); err != nil {
		t.Fatal(err)
	}
	return m, "/store"
}

// each runs a test on every file system.
func each(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			fsys, dir := s.make(t)
			test(t, fsys, dir)
		})
	}
}

func create(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func put(t *testing.T, f vfs.File, content string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(content), off); err != nil || n != len(content) {
		t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(content), off, n, err)
	}
}

func content(t *testing.T, f vfs.File) string {
	t.Helper()
	length, _, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, length)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(b)
}

func wantContent(t *testing.T, f vfs.File, want string) {
	t.Helper()
	if got := content(t, f); got != want {
		t.Fatalf("content is %q, want %q", got, want)
	}
}

func wantIs(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got error %v, want %v", what, err, target)
	}
}

func TestReadWrite(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"))
		put(t, f, "hello", 3)
		wantContent(t, f, "\x00\x00\x00hello")

		b := make([]byte, 4)
		if n, err := f.ReadAt(b, 6); n != 2 || err != io.EOF || string(b[:n]) != "lo" {
			t.Errorf("read across the end: %d bytes %q, %v", n, b[:n], err)
		}
		if n, err := f.ReadAt(b, 100); n != 0 || err != io.EOF {
			t.Errorf("read beyond the end: %d, %v", n, err)
		}
		if n, err := f.ReadAt(b[:1], 7); n != 1 || err != nil && err != io.EOF {
			t.Errorf("read up to the end: %d, %v", n, err)
		}
		if _, err := f.WriteAt(nil, 1000); err != nil {
			t.Error(err)
		}
		if length, _, _ := f.Size(); length != 8 {
			t.Errorf("length is %d after an empty write, want 8", length)
		}
		if _, err := f.WriteAt(b, -1); err == nil {
			t.Error("a write before the beginning succeeded")
		}
		if _, err := f.ReadAt(b, -1); err == nil {
			t.Error("a read before the beginning succeeded")
		}
	})
}

func TestWriteVec(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		for _, count := range []int{0, 1, 2, 1023, 1024, 1025, 3000} {
			var bufs [][]byte
			want := []byte("head")
			for i := range count {
				b := bytes.Repeat([]byte{byte(i)}, i%7*i%97)
				bufs = append(bufs, b)
				want = append(want, b...)
			}
			f := create(t, fsys, filepath.Join(dir, "v"))
			if err := f.Truncate(0); err != nil {
				t.Fatal(err)
			}
			put(t, f, "head", 0)
			headers := slices.Clone(bufs)
			n, err := f.WriteVec(bufs, 4)
			if err != nil || n != int64(len(want)-4) {
				t.Fatalf("WriteVec of %d buffers = %d, %v; want %d", count, n, err, len(want)-4)
			}
			for i := range bufs {
				if len(bufs[i]) != len(headers[i]) {
					t.Fatalf("buffer %d of the caller was changed", i)
				}
			}
			wantContent(t, f, string(want))
		}
	})
}

func TestTruncate(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"))
		put(t, f, "abcdef", 0)
		for _, c := range []struct {
			size int64
			want string
		}{{6, "abcdef"}, {3, "abc"}, {5, "abc\x00\x00"}, {0, ""}, {2, "\x00\x00"}} {
			if err := f.Truncate(c.size); err != nil {
				t.Fatal(err)
			}
			wantContent(t, f, c.want)
		}
		if err := f.Truncate(-1); err == nil {
			t.Error("a negative length was accepted")
		}
		// What was cut off stays away when the file grows over it again.
		put(t, f, string(bytes.Repeat([]byte{'x'}, 10000)), 0)
		for _, size := range []int64{4097, 20000} {
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
		}
		wantContent(t, f, string(bytes.Repeat([]byte{'x'}, 4097))+string(make([]byte, 20000-4097)))
	})
}

func TestAllocate(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"))
		put(t, f, "abc", 0)
		err := f.Allocate(0, 64<<10)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip("the file system can not allocate")
		}
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, f, "abc")
		if _, allocated, err := f.Size(); err != nil || allocated < 64<<10 {
			t.Errorf("allocated %d bytes, %v; want 64 KiB", allocated, err)
		}
		if err := f.Truncate(6); err != nil {
			t.Fatal(err)
		}
		wantContent(t, f, "abc\x00\x00\x00")
		if _, allocated, err := f.Size(); err != nil || allocated < 64<<10 {
			t.Errorf("growing the file left %d bytes allocated, %v", allocated, err)
		}
		for _, bad := range [][2]int64{{-1, 5}, {0, 0}, {0, -1}} {
			if err := f.Allocate(bad[0], bad[1]); err == nil {
				t.Errorf("Allocate(%d, %d) succeeded", bad[0], bad[1])
			}
		}
	})
}

// Renew may do nothing where the file system can not; else it reads as zero,
// and nothing around it changes.
func TestRenew(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"))
		x := strings.Repeat("x", 12288)
		put(t, f, x, 0)
		if err := f.Renew(4096, 4096); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(x))
		if _, err := f.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if s := string(got); s != x && s != x[:4096]+strings.Repeat("\x00", 4096)+x[:4096] {
			t.Error("something else than the renewed block changed")
		}
		if err := f.Renew(8192, 16384); err != nil {
			t.Fatal(err)
		}
		if length, _, err := f.Size(); err != nil || length != 12288 {
			t.Errorf("the length is %d, %v", length, err)
		}
		put(t, f, x, 0)
		wantContent(t, f, x)
		for _, bad := range [][2]int64{{-1, 5}, {0, 0}, {0, -1}} {
			if err := f.Renew(bad[0], bad[1]); err == nil {
				t.Errorf("Renew(%d, %d) succeeded", bad[0], bad[1])
			}
		}
	})
}

func TestNextData(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"))
		const hole = 1 << 20
		if err := f.Truncate(3 * hole); err != nil {
			t.Fatal(err)
		}
		put(t, f, "abc", hole)
		for _, c := range []struct{ off, least, most int64 }{
			{0, 0, hole},                   // not behind the data
			{hole + 1, hole + 1, hole + 1}, // in it
			{2 * hole, 2 * hole, 3 * hole}, // none any more
		} {
			next, err := vfs.NextData(f, c.off)
			if err != nil || next < c.least || next > c.most {
				t.Errorf("from %d: %d, %v, want %d to %d", c.off, next, err, c.least, c.most)
			}
		}
		if m, ok := fsys.(*memfs.FS); ok {
			if next, _ := vfs.NextData(f, 0); next != hole {
				t.Errorf("%v: the data begins at %d, want %d", m, next, hole)
			}
		}
		if next, err := vfs.NextData(f, 3*hole); err != nil || next != 3*hole {
			t.Errorf("at the end: %d, %v", next, err)
		}
	})
}

func TestCloneFrom(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		src, dst := create(t, fsys, filepath.Join(dir, "src")), create(t, fsys, filepath.Join(dir, "dst"))
		put(t, src, "abc", 5000)
		if err := src.Truncate(9000); err != nil {
			t.Fatal(err)
		}
		err := dst.CloneFrom(src)
		if errors.Is(err, errors.ErrUnsupported) {
			wantContent(t, dst, "")
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		want := content(t, src)
		put(t, src, "xyz", 5000)
		wantContent(t, dst, want)
		wantIs(t, "clone onto a file that is not empty", dst.CloneFrom(src), syscall.EINVAL)
		put(t, dst, "uvw", 5000)
		if got := content(t, src)[5000:5003]; got != "xyz" {
			t.Errorf("a write to the clone changed the source to %q", got)
		}
	})
}

func TestCloneRange(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		src, dst := create(t, fsys, filepath.Join(dir, "src")), create(t, fsys, filepath.Join(dir, "dst"))
		const block = 64 << 10 // any file system's
		put(t, src, string(bytes.Repeat([]byte("a"), block))+string(bytes.Repeat([]byte("b"), block)), 0)
		put(t, dst, string(bytes.Repeat([]byte("x"), 3*block)), 0)
		err := vfs.CloneRange(dst, src, block, block, block)
		if errors.Is(err, errors.ErrUnsupported) {
			wantContent(t, dst, string(bytes.Repeat([]byte("x"), 3*block)))
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		put(t, src, "c", block) // what is written next has blocks of its own
		part := func(letter string) string { return string(bytes.Repeat([]byte(letter), block)) }
		wantContent(t, dst, part("x")+part("b")+part("x"))
		if err := vfs.CloneRange(dst, src, 0, block, 3*block); err != nil { // behind the end
			t.Fatal(err)
		}
		wantContent(t, dst, part("x")+part("b")+part("x")+part("a"))
		if err := vfs.CloneRange(dst, src, block, 2*block, 0); err == nil {
			t.Error("more than the source has was shared")
		}
		wantContent(t, dst, part("x")+part("b")+part("x")+part("a"))
	})
}

func TestOpenFlags(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		_, err := fsys.OpenFile(name, os.O_RDWR, 0)
		wantIs(t, "open a missing file", err, fs.ErrNotExist)
		_, err = fsys.OpenFile(filepath.Join(dir, "no", "a"), os.O_RDWR|os.O_CREATE, 0o600)
		wantIs(t, "create in a missing directory", err, fs.ErrNotExist)
		var pathErr *fs.PathError
		if !errors.As(err, &pathErr) {
			t.Errorf("%v is a %T, want a *fs.PathError", err, err)
		}

		f := create(t, fsys, name)
		put(t, f, "abc", 0)
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		wantIs(t, "create exclusively what exists", err, fs.ErrExist)
		_, err = fsys.OpenFile(dir, os.O_RDONLY, 0)
		wantIs(t, "open a directory", err, syscall.EISDIR)
		_, err = fsys.OpenFile(filepath.Join(name, "b"), os.O_RDONLY, 0)
		wantIs(t, "open below a file", err, syscall.ENOTDIR)

		r, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, r, "abc")
		if _, err := r.WriteAt([]byte("x"), 0); err == nil {
			t.Error("a write to a file opened for reading succeeded")
		}
		if _, err := r.WriteVec([][]byte{{1}, {2}}, 0); err == nil {
			t.Error("a vectored write to a file opened for reading succeeded")
		}
		if err := r.Truncate(0); err == nil {
			t.Error("truncating a file opened for reading succeeded")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
		wantIs(t, "sync after Close", r.Sync(), fs.ErrClosed)
		wantIs(t, "close after Close", r.Close(), fs.ErrClosed)

		tr, err := fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tr, "")
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		wantContent(t, f, "")
	})
}

func TestDirectories(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		join := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		names := func(name string) (list []string) {
			t.Helper()
			entries, err := fsys.ReadDir(name)
			must(err)
			for _, e := range entries {
				list = append(list, e.Name())
			}
			return list
		}
		must(fsys.Mkdir(join("d"), 0o700))
		wantIs(t, "make it again", fsys.Mkdir(join("d"), 0o700), fs.ErrExist)
		put(t, create(t, fsys, join("d", "f")), "f", 0)
		put(t, create(t, fsys, join("b")), "bb", 0)
		put(t, create(t, fsys, join("a")), "a", 0)
		if got := names(dir); !slices.Equal(got, []string{"a", "b", "d"}) {
			t.Errorf("names are %q", got)
		}
		info, err := fsys.Stat(join("b"))
		must(err)
		if info.Name() != "b" || info.Size() != 2 || info.IsDir() || info.Mode().Perm() != 0o600 {
			t.Errorf("b is %v", info)
		}
		if info, err := fsys.Stat(join("d")); err != nil || !info.IsDir() {
			t.Errorf("d is %v, %v", info, err)
		}
		_, err = fsys.Stat(join("x"))
		wantIs(t, "stat a missing file", err, fs.ErrNotExist)
		_, err = fsys.ReadDir(join("x"))
		wantIs(t, "list a missing directory", err, fs.ErrNotExist)

		wantIs(t, "remove a directory that is not empty", fsys.Remove(join("d")), syscall.ENOTEMPTY)
		wantIs(t, "remove a missing file", fsys.Remove(join("x")), fs.ErrNotExist)
		wantIs(t, "rename a missing file", fsys.Rename(join("x"), join("y")), fs.ErrNotExist)
		wantIs(t, "rename a directory into itself", fsys.Rename(join("d"), join("d", "e")), syscall.EINVAL)
		wantIs(t, "rename a directory onto a file", fsys.Rename(join("d"), join("a")), syscall.ENOTDIR)
		if err := fsys.Rename(join("a"), join("d")); err == nil {
			t.Error("renaming a file onto a directory succeeded")
		}

		must(fsys.Rename(join("a"), join("b")))
		wantContent(t, create(t, fsys, join("b")), "a")
		must(fsys.Rename(join("b"), join("d", "g")))
		if got := names(join("d")); !slices.Equal(got, []string{"f", "g"}) {
			t.Errorf("names are %q", got)
		}
		must(fsys.Rename(join("d"), join("e")))
		must(fsys.SyncDir(dir))
		wantIs(t, "sync a missing directory", fsys.SyncDir(join("d")), fs.ErrNotExist)

		// A file without a name is there as long as it is open.
		f := create(t, fsys, join("e", "f"))
		must(fsys.Remove(join("e", "f")))
		must(fsys.Remove(join("e", "g")))
		put(t, f, "still", 0)
		wantContent(t, f, "still")
		must(fsys.Remove(join("e")))
		if got := names(dir); len(got) != 0 {
			t.Errorf("names are %q", got)
		}
	})
}

func openLock(t *testing.T, fsys vfs.FS, name string) vfs.Lock {
	t.Helper()
	l, err := fsys.OpenLock(name)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no locks on this system")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLock(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "lock")
		a, b, c := openLock(t, fsys, name), openLock(t, fsys, name), openLock(t, fsys, name)
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		locked := func(err error, pid int) {
			t.Helper()
			var l *vfs.LockedError
			if !errors.As(err, &l) || !errors.Is(err, vfs.ErrLocked) || l.PID != pid || l.Name != name {
				t.Fatalf("got %#v, want a LockedError of %s with pid %d", err, name, pid)
			}
		}
		ok(a.TryLock(0, true))
		locked(b.TryLock(0, true), 0)
		ok(a.SetOwner(1234567))
		locked(b.TryLock(0, true), 1234567)
		ok(a.SetOwner(42))
		locked(b.TryLock(0, false), 42)
		wantContent(t, create(t, fsys, name), "42\n")

		// Bytes are independent; shared locks go together.
		ok(b.TryLock(1, false))
		ok(c.TryLock(1, false))
		locked(a.TryLock(1, true), 0)
		ok(c.Unlock(1))
		ok(b.TryLock(1, true)) // alone, so shared becomes exclusive
		locked(a.TryLock(1, false), 0)
		ok(b.TryLock(1, false))
		ok(a.TryLock(1, false))

		ok(b.Unlock(7)) // never taken
		ok(a.Unlock(0))
		ok(b.TryLock(0, true))
		ok(b.Close())
		ok(c.TryLock(0, true))
		if err := b.TryLock(5, true); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("lock after Close: %v", err)
		}
	})
}

// doneNotice tells when somebody first looks at the end of the context, which
// is when Lock begins to wait.
type doneNotice struct {
	context.Context
	once  sync.Once
	asked chan struct{}
}

func (c *doneNotice) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}

func TestLockWaits(t *testing.T) {
	each(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "lock")
		a, b := openLock(t, fsys, name), openLock(t, fsys, name)
		if err := a.Lock(t.Context(), 1, true); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		err := b.Lock(ctx, 1, false)
		wantIs(t, "a lock whose context ended", err, cause)
		wantIs(t, "a lock whose context ended", err, vfs.ErrLocked)

		done := make(chan error)
		waiting := &doneNotice{Context: t.Context(), asked: make(chan struct{})}
		go func() { done <- b.Lock(waiting, 1, false) }()
		<-waiting.asked
		if err := a.Unlock(1); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		wantIs(t, "lock while the waiter holds it", a.TryLock(1, true), vfs.ErrLocked)
	})
}
