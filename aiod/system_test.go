//go:build linux

package aiod

import (
	"os"
	"path/filepath"
	"runtime"
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
