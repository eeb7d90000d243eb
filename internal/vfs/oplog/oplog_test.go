package oplog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// workload does a little of everything in dir.
func workload(t *testing.T, l *oplog.FS, dir string) {
	t.Helper()
	name := func(s string) string { return filepath.Join(dir, s) }
	lock, err := l.OpenLock(name("lock"))
	must(t, err)
	must(t, lock.TryLock(0, true))
	must(t, lock.SetOwner(os.Getpid()))
	other, err := l.OpenLock(name("lock"))
	must(t, err)
	if err := other.TryLock(0, false); !errors.Is(err, vfs.ErrLocked) {
		t.Fatal(err)
	}
	must(t, other.Lock(t.Context(), 1, false))
	must(t, other.Unlock(1))
	must(t, other.Close())

	f, err := l.OpenFile(name("image.bin"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	must(t, f.Allocate(0, 16384))
	_, err = f.WriteAt(make([]byte, 4096), 0)
	must(t, err)
	_, err = f.WriteVec([][]byte{make([]byte, 100), make([]byte, 28)}, 4096)
	must(t, err)
	f.WriteBack(0, 4096)
	must(t, f.Truncate(5000))
	must(t, f.Sync())
	_, err = f.ReadAt(make([]byte, 10), 4995)
	l.Mark("ack 1")
	must(t, f.Close())
	_, err = l.OpenFile(name("image.bin"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		t.Fatal("created twice")
	}
	must(t, l.Mkdir(name("old"), 0o700))
	must(t, l.Rename(name("image.bin"), name("old/image.bin")))
	r, err := l.OpenFile(name("old/image.bin"), os.O_RDONLY, 0)
	must(t, err)
	_, _, err = r.Size()
	must(t, err)
	must(t, r.Close())
	_, err = l.ReadDir(dir)
	must(t, err)
	must(t, l.SyncDir(dir))
	must(t, l.SyncDir(name("old")))
	must(t, l.Remove(name("old/image.bin")))
	if _, err := l.Stat(name("old/image.bin")); err == nil {
		t.Fatal("still there")
	}
	must(t, lock.Close())
}

// The text is the same on every file system: without a path of the machine,
// a process id or anything else of the run.
func TestText(t *testing.T) {
	for _, reads := range []bool{false, true} {
		golden := map[bool]string{false: "testdata/writes.log", true: "testdata/reads.log"}[reads]
		m := memfs.New()
		must(t, m.Mkdir("/store", 0o700))
		l := oplog.New(m, oplog.Options{Root: "/store", Reads: reads})
		workload(t, l, "/store")
		oplog.Golden(t, golden, l.String())

		dir := t.TempDir()
		l = oplog.New(vfs.OS, oplog.Options{Root: dir, Reads: reads})
		if probe, err := l.OpenLock(filepath.Join(dir, "probe")); errors.Is(err, errors.ErrUnsupported) {
			continue // no locks on this system
		} else {
			must(t, probe.Close())
			must(t, os.Remove(filepath.Join(dir, "probe")))
			l.Reset()
		}
		workload(t, l, dir)
		oplog.Golden(t, golden, l.String())
	}
}

func TestErrorsInText(t *testing.T) {
	fault := errorfs.Fault{Err: syscall.ENOSPC, Partial: true}
	l := oplog.New(errorfs.New(memfs.New(), &errorfs.Nth{N: 1, Sticky: true, Fault: fault}), oplog.Options{})
	f, err := l.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	must(t, err)
	f.WriteAt(make([]byte, 9), 1)
	f.Sync()
	want := "create a trunc\nwrite a 1+9 did 4 ! no space left on device\nsync a ! no space left on device\n"
	if got := l.String(); got != want {
		t.Errorf("text is\n%swant\n%s", got, want)
	}
}

func TestOps(t *testing.T) {
	var hooked []string
	m := memfs.New()
	l := oplog.New(m, oplog.Options{Bytes: true, Hook: func(op oplog.Op) {
		m.Clone() // may look at the file system below
		hooked = append(hooked, op.String())
	}})
	f, err := l.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	b := []byte("abc")
	_, err = f.WriteAt(b, 0)
	must(t, err)
	_, err = f.WriteVec([][]byte{b, []byte("def")}, 3)
	must(t, err)
	must(t, f.Sync())
	b[0] = 'x' // the record has its own copy
	ops := l.Ops()
	if got := fmt.Sprintf("%s %s", ops[1].Bytes, ops[2].Bytes); got != "abc abcdef" {
		t.Errorf("recorded bytes are %q", got)
	}
	if ops[2].Done != 6 || ops[2].Began != 2 || ops[3].Began != 3 {
		t.Errorf("operations are %+v", ops)
	}
	if text := strings.Join(hooked, "\n") + "\n"; text != l.String() {
		t.Errorf("the hook saw\n%s, the record is\n%s", text, l.String())
	}
	l.Reset()
	if l.String() != "" {
		t.Errorf("after Reset the record is %q", l.String())
	}
}

// Began tells what was over before an operation began.
func TestConcurrentRecording(t *testing.T) {
	l := oplog.New(memfs.New(), oplog.Options{})
	f, err := l.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				f.WriteAt([]byte{byte(j)}, int64(i))
			}
		})
	}
	wg.Wait()
	ops := l.Ops()
	if len(ops) != 801 {
		t.Fatalf("%d operations were recorded, want 801", len(ops))
	}
	last := map[int64]int{} // index of each goroutine's previous write
	for i, op := range ops[1:] {
		i++
		if op.Began > i {
			t.Fatalf("operation %d began after %d were over", i, op.Began)
		}
		if before, ok := last[op.Off]; ok && op.Began <= before {
			t.Fatalf("operation %d of one goroutine overlaps its own operation %d", i, before)
		}
		last[op.Off] = i
	}
}

// failures is a testing.TB that only notes failures.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Helper() {}
func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

func TestGoldenReportsTheLine(t *testing.T) {
	if oplog.Update() {
		t.Skip("comparing with golden files is off under -update")
	}
	path := filepath.Join(t.TempDir(), "x.log")
	must(t, os.WriteFile(path, []byte("sync a\nsync b\n"), 0o600))
	for _, c := range []struct{ got, want string }{
		{"sync a\nsync b\n", ""},
		{"sync a\nsync c\n", `x.log:2: operation is "sync c", want "sync b"`},
		{"sync a\n", `x.log:2: operation is "", want "sync b"`},
		{"sync a\nsync b\nsync c\n", `x.log:3: operation is "sync c", want ""`},
	} {
		f := &failures{TB: t}
		oplog.Golden(f, path, c.got)
		text := strings.Join(f.texts, "\n")
		if (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
			t.Errorf("comparing %q reports %q, want %q", c.got, text, c.want)
		}
	}
}
