//go:build linux

package aiod_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/aiod"

	"golang.org/x/sys/unix"
)

const (
	handOverPages = 2000
	handOverMore  = 100
	pageSize      = 4096
)

func page(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, pageSize/2) }

// handOver is a runtime that has a checkpoint in one file, hands its apply to
// the daemon, and is killed at once. The daemon is asleep meanwhile, so that
// nothing is done before the runtime's death.
func handOver() error {
	dir := os.Getenv("AIOD_TEST_DIR")
	c, err := aiod.Start("/proc/self/exe", &aiod.Options{Native: true, Root: dir})
	if err != nil {
		return err
	}
	patch, err := c.OpenFile("patch", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	image, err := c.OpenFile("image", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	more, err := c.OpenFile("more", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lockFile(lock, unix.F_OFD_SETLK); err != nil {
		return err
	}
	if _, err := c.Adopt(lock); err != nil {
		return err
	}
	s := c.Sequence()
	s.Truncate(image, handOverPages*pageSize)
	for i := range handOverPages { // scattered: the pages change places
		s.Copy(image, int64(handOverPages-1-i)*pageSize, patch, int64(i)*pageSize, pageSize)
	}
	s.SyncData(image)
	s.WriteAt(image, []byte("header"), 0)
	s.SyncData(image)

	pid := started()[0]
	fmt.Println(pid)
	unix.Kill(pid, unix.SIGSTOP)
	if _, err := s.Submit(); err != nil {
		return err
	}
	for i := range handOverMore { // more than the workers can have taken at once
		s := c.Sequence()
		s.Sync(more)
		s.WriteAt(more, []byte{'x'}, int64(i))
		if _, err := s.Submit(); err != nil {
			return err
		}
	}
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func init() {
	children["handover"] = func() {
		fmt.Fprintln(os.Stderr, handOver())
		os.Exit(1)
	}
}

func lockFile(f *os.File, cmd int) error {
	return unix.FcntlFlock(f.Fd(), cmd, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1})
}

// TestHandOver kills a runtime right after it handed its checkpoint over: the
// daemon applies all of it, in order, and holds the lock until then.
func TestHandOver(t *testing.T) {
	// The daemon is to be this process's orphan, so that it can be waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	dir := t.TempDir()
	var patch, want []byte
	for i := range handOverPages {
		patch = append(patch, page(i)...)
	}
	for i := handOverPages - 1; i >= 0; i-- {
		want = append(want, page(i)...)
	}
	copy(want, "header")
	if err := os.WriteFile(filepath.Join(dir, "patch"), patch, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "AIOD_TEST_CHILD=handover", "AIOD_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(out)
	cmd.Wait()
	var pid int
	if _, err := fmt.Sscan(string(said), &pid); err != nil {
		t.Fatalf("runtime said %q: %v", said, err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := lockFile(lock, unix.F_OFD_SETLK); err != unix.EAGAIN {
		t.Errorf("lock while the daemon works: %v, want EAGAIN", err)
	}
	unix.Kill(pid, unix.SIGCONT)
	if err := lockFile(lock, unix.F_OFD_SETLKW); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Errorf("daemon: %v", err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	if more := must(os.ReadFile(filepath.Join(dir, "more"))); string(more) != strings.Repeat("x", handOverMore) {
		t.Errorf("%d of %d later requests were done", bytes.Count(more, []byte("x")), handOverMore)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("image: %d bytes, not the %d of the checkpoint", len(got), len(want))
	}
}

// TestSequence: steps are done in order up to the first that fails.
func TestSequence(t *testing.T) {
	dir := t.TempDir()
	c := start(t, aiod.Options{Native: true, Root: dir})
	f := must(c.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o600))
	readOnly := must(c.OpenFile("a", os.O_RDONLY, 0))
	s := c.Sequence()
	s.WriteAt(f, []byte("one"), 0)
	s.WriteAt(f, []byte("two"), 3)
	s.Sync(f)
	s.WriteAt(readOnly, []byte("no"), 0)
	s.WriteAt(f, []byte("three"), 6)
	p, err := s.Submit()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := p.Wait(t.Context()); n != 3 || !errors.Is(err, unix.EBADF) {
		t.Errorf("%d steps, %v; want 3, EBADF", n, err)
	}
	if got := must(os.ReadFile(filepath.Join(dir, "a"))); string(got) != "onetwo" {
		t.Errorf("file: %q", got)
	}
	s = c.Sequence()
	s.Copy(f, 0, readOnly, 4, 100) // the source is shorter
	if n, err := must(s.Submit()).Wait(t.Context()); n != 0 || !errors.Is(err, unix.ENODATA) {
		t.Errorf("short copy: %d steps, %v", n, err)
	}
	s = c.Sequence()
	s.WriteAt(f, make([]byte, 2<<20), 0)
	if _, err := s.Submit(); !errors.Is(err, aiod.ErrTooLarge) {
		t.Errorf("large sequence: %v", err)
	}
	plain := start(t, aiod.Options{})
	if _, err := plain.Sequence().Submit(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("sequence in compatible mode: %v", err)
	}
}

// TestRoot: no name leaves the root directory.
func TestRoot(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	root := filepath.Join(outside, "root")
	if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.MkdirAll(filepath.Join(root, "in"), 0o700),
		os.Symlink("../secret", filepath.Join(root, "up")), os.Symlink(secret, filepath.Join(root, "abs")),
		os.Symlink("/proc/self/root"+outside, filepath.Join(root, "magic")), os.Symlink("..", filepath.Join(root, "dir"))); err != nil {
		t.Fatal(err)
	}
	c := start(t, aiod.Options{Native: true, Root: root})
	for _, name := range []string{"../secret", "up", "abs", secret, "in/../../secret", "dir/secret", "magic/secret", "/proc/self/root" + secret} {
		if f, err := c.OpenFile(name, os.O_RDONLY, 0); err == nil {
			f.Close()
			t.Errorf("opened %s", name)
		}
		for what, err := range map[string]error{
			"stat":           second(c.Stat(name)),
			"mkdir":          c.Mkdir(name+".d", 0o700),
			"rename to":      c.Rename("in", name+".r"),
			"link to":        c.Link("up", name+".l"),
			"symlink at":     c.Symlink("x", name+".s"),
			"listing parent": second(c.ReadDir(filepath.Dir(name))),
		} {
			inside := !strings.Contains(name, "/") && what != "stat" // the name itself is in the root
			if err == nil && !inside {
				t.Errorf("%s %s: done", what, name)
			}
			if err == nil && what == "rename to" {
				os.Rename(filepath.Join(root, name+".r"), filepath.Join(root, "in"))
			}
		}
		if strings.Contains(name, "/") {
			if err := c.Remove(name); err == nil {
				t.Errorf("removed %s", name)
			}
		}
	}
	if left := must(os.ReadDir(outside)); len(left) != 2 {
		t.Errorf("outside: %v", left)
	}
	if _, err := c.Stat(filepath.Join(root, "in")); err != nil { // absolute, but within
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestExtended: what only native files do.
func TestExtended(t *testing.T) {
	dir := t.TempDir()
	c := start(t, aiod.Options{Native: true})
	name := filepath.Join(dir, "file")
	f := must(c.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600))
	if err := f.Allocate(0, 1<<20); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Error(err)
	} else if st := must(f.Stat()); err == nil && (st.Size() != 0 || st.Sys().(*aiod.Stat).Blocks < 2048) {
		t.Errorf("after Allocate: %+v", st.Sys())
	}
	must(f.WriteAt([]byte("renewed"), 0))
	if err := f.Renew(0, 4096); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Error(err)
	} else if b := make([]byte, 7); err == nil && (must(f.ReadAt(b, 0)) != 7 || string(b) != strings.Repeat("\x00", 7)) {
		t.Errorf("after Renew: %q", b)
	}
	if err := f.WriteBack(0, 4096); err != nil {
		t.Error(err)
	}
	g := must(c.OpenFile(name+"2", os.O_RDWR|os.O_CREATE, 0o600))
	if err := g.CloneFrom(f); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.EINVAL) {
		t.Errorf("clone: %v", err)
	}
	fd, ok := f.Fd()
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(fd), &a), unix.Stat(name, &b)); !ok || err != nil || a.Ino != b.Ino {
		t.Errorf("Fd is another file: %v, %v", ok, err)
	}
	if err := errors.Join(f.Close(), g.Close()); err != nil {
		t.Error(err)
	}
	// Durable renaming, which both modes have.
	if err := c.RenameDurable(name, name+"3"); err != nil {
		t.Error(err)
	}
	// A directory can be removed, as package os does it.
	if err := errors.Join(c.Mkdir(name, 0o700), c.Remove(name)); err != nil {
		t.Error(err)
	}
}

// TestSyncFailureStays: once a sync has failed it can not succeed.
func TestSyncFailureStays(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		if _, err := os.Stat("/dev/full"); err != nil {
			t.Skip(err)
		}
		c := start(t, o)
		f := must(c.OpenFile("/dev/full", os.O_WRONLY, 0))
		if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("write: %v", err)
		}
		first := f.Sync()
		if !errors.Is(first, unix.EINVAL) {
			t.Errorf("sync: %v", first)
		}
		killAll() // a new daemon knows nothing of it
		if again := f.Sync(); again != first {
			t.Errorf("again: %v, want the same %v", again, first)
		}
	})
}
