//go:build linux

package aiod

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWorkingDirAccess: a directory that may not be entered has no working
// directory to tell, as chdir(2) would refuse it.
func TestWorkingDirAccess(t *testing.T) {
	top := t.TempDir()
	open, shut := filepath.Join(top, "open"), filepath.Join(top, "shut")
	for dir, mode := range map[string]os.FileMode{filepath.Dir(top): 0o755, top: 0o755, open: 0o755, shut: 0o644} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	type answer struct {
		dir string
		err error
	}
	answers := make(chan answer, 2)
	go func() { // root may enter everything; this thread ends with the goroutine
		runtime.LockOSThread()
		unix.Setfsuid(65534)
		for _, dir := range []string{open, shut} {
			got, err := workingDir(dir)
			answers <- answer{got, err}
		}
	}()
	got := <-answers
	if got.err == unix.EACCES {
		t.Skip("other users can not reach the temporary directory")
	}
	if got.dir != open || got.err != nil {
		t.Errorf("%q, %v; want %q", got.dir, got.err, open)
	}
	if got := <-answers; got.err != unix.EACCES {
		t.Errorf("a directory without x: %v, want %v", got.err, unix.EACCES)
	}
}

// TestRemovedDirectory: the listing of a directory that was removed is at its
// end, as readdir(3) has it.
func TestRemovedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	x := newExecutor(t, ABI2)
	x.putFile(1024, 7, 0, dir)
	x.request(0, OpOpendir, 1024, 0, 0, 0)
	if errno := x.serve(0); errno != 0 {
		t.Fatalf("opendir: %v", unix.Errno(errno))
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	x.request(0, OpReaddir, 1024, 0, 4096, direntSize)
	errno := x.serve(0)
	if n := binary.LittleEndian.Uint64(x.view.Bytes()[offLen:]); errno != 0 || n != 0 {
		t.Errorf("readdir: %d bytes, %v; want the end", int64(n), unix.Errno(errno))
	}
}

// TestLongName: an entry whose name does not fit is refused, not passed over.
func TestLongName(t *testing.T) {
	dir, name := t.TempDir(), strings.Repeat("n", 60)
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x := newExecutor(t, ABI2)
	x.putFile(1024, 7, 0, dir)
	x.request(0, OpOpendir, 1024, 0, 0, 0)
	if errno := x.serve(0); errno != 0 {
		t.Fatalf("opendir: %v", unix.Errno(errno))
	}
	mem := x.view.Bytes()
	room, refused, seen := uint64(24), 0, 0
	for range 4 {
		x.request(0, OpReaddir, 1024, 0, 4096, room)
		switch errno := x.serve(0); {
		case errno == uint32(unix.EINVAL):
			refused++
			room = direntSize
		case errno != 0:
			t.Fatalf("readdir: %v", unix.Errno(errno))
		case strings.HasPrefix(string(mem[4096+direntName:]), name+"\x00"):
			seen++
			clear(mem[4096 : 4096+direntSize])
		}
	}
	if refused != 1 || seen != 1 {
		t.Errorf("refused %d times, listed %d times; want 1 and 1", refused, seen)
	}
}
