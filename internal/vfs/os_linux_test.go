package vfs_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/internal/aiodtest"
	"loomstore/internal/vfs"
)

// lockChild names the lock file that a child process of these tests holds.
const lockChild = "LOOM_VFS_LOCK_CHILD"

func TestMain(m *testing.M) {
	aiodtest.Serve()
	if name, ok := os.LookupEnv(lockChild); ok {
		holdLock(name)
		return
	}
	if os.Getenv("LOOM_SOAK") == "1" {
		flag.Set("rapid.checks", "10000")
	}
	os.Exit(m.Run())
}

// holdLock takes the lock if it has a name, says so, and waits for its end.
func holdLock(name string) {
	if name != "" {
		l, err := vfs.OS.OpenLock(name)
		if err == nil {
			err = l.TryLock(0, true)
		}
		if err == nil {
			err = l.TryLock(1, false)
		}
		if err == nil {
			err = l.SetOwner(os.Getpid())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		defer l.Close()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// startChild returns when the child holds the lock. It is killed at the end.
func startChild(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), lockChild+"="+name)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	return cmd
}

func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

func TestLockOfAKilledProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	cmd := startChild(t, name)
	l := openLock(t, vfs.OS, name)
	var locked *vfs.LockedError
	if err := l.TryLock(0, true); !errors.As(err, &locked) || locked.PID != cmd.Process.Pid {
		t.Fatalf("got %v, want locked by process %d", err, cmd.Process.Pid)
	}
	if want := fmt.Sprintf("%s: locked by process %d", name, cmd.Process.Pid); locked.Error() != want {
		t.Errorf("message is %q, want %q", locked, want)
	}
	if err := l.TryLock(1, false); err != nil {
		t.Errorf("shared beside shared of another process: %v", err)
	}
	wantIs(t, "exclusive beside shared of another process", l.TryLock(1, true), vfs.ErrLocked)

	done := make(chan error)
	go func() { done <- l.Lock(t.Context(), 0, true) }()
	kill(cmd)
	if err := <-done; err != nil {
		t.Errorf("lock after the holder was killed: %v", err)
	}
	if err := l.TryLock(1, true); err != nil {
		t.Error(err)
	}
}

// A child between fork and exec has the descriptors of its parent. A lock that
// the parent has closed is free nevertheless.
func TestClosedLockIsFreeWhileAForkSharesIt(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	lock, err := vfs.OS.OpenLock(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.TryLock(0, true); err != nil {
		t.Fatal(err)
	}
	shared := -1 // what fork gives a child
	for fd := range 256 {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && target == name {
			if shared, err = unix.Dup(fd); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if shared < 0 {
		t.Fatal("no descriptor of the lock file")
	}
	defer unix.Close(shared)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := vfs.OS.OpenLock(name)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := next.TryLock(0, true); err != nil {
		t.Fatalf("after the close: %v", err)
	}
}

// A child process must not keep its parent's lock or files open.
func TestDescriptorsAreClosedOnExec(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "lock")
	l, err := vfs.OS.OpenLock(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.TryLock(0, true); err != nil {
		t.Fatal(err)
	}
	f := create(t, vfs.OS, filepath.Join(dir, "secret-file"))
	defer f.Close()
	cmd := startChild(t, "")
	fds := fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && strings.HasPrefix(target, dir) {
			t.Errorf("child has %s open", target)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openLock(t, vfs.OS, name).TryLock(0, true); err != nil {
		t.Errorf("lock lives on in a child: %v", err)
	}
}

// asNobody runs f without root's power over file permissions.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		unix.Setfsuid(65534)
		f()
	}()
	<-done
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file, lock := filepath.Join(dir, "f"), filepath.Join(dir, "lock")
	must(os.WriteFile(file, []byte("abc"), 0o444))
	must(os.WriteFile(lock, []byte("77\n"), 0o444))
	must(os.Chmod(filepath.Dir(dir), 0o755))
	must(os.Chmod(dir, 0o555))
	t.Cleanup(func() { os.Chmod(dir, 0o755) })

	asNobody(t, func() {
		f, err := vfs.OS.OpenFile(file, os.O_RDONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		wantContent(t, f, "abc")
		_, err = vfs.OS.OpenFile(file, os.O_RDWR, 0)
		wantIs(t, "open for writing", err, fs.ErrPermission)

		l, err := vfs.OS.OpenLock(lock)
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		if err := l.TryLock(1, false); err != nil {
			t.Errorf("shared lock: %v", err)
		}
		wantIs(t, "exclusive lock", l.TryLock(0, true), fs.ErrPermission)
		wantIs(t, "owner", l.SetOwner(1), fs.ErrPermission)
		_, err = vfs.OS.OpenLock(filepath.Join(dir, "missing"))
		wantIs(t, "missing lock file", err, fs.ErrPermission)
	})
}

func TestOwnerIsHostile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	holder, other := openLock(t, vfs.OS, name), openLock(t, vfs.OS, name)
	if err := holder.TryLock(0, true); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]int{
		"": 0, "12\n": 12, "12": 0, "12\n99999": 12, "-3\n": 0, "x\n": 0, "\n": 0,
		"99999999999999999999\n": 0, strings.Repeat("1", 4000): 0,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var locked *vfs.LockedError
		if err := other.TryLock(0, true); !errors.As(err, &locked) || locked.PID != want {
			t.Errorf("content %.20q: %v, want pid %d", content, err, want)
		}
	}
}

// Opening what is not a file must neither wait nor succeed.
func TestOpenIsOnlyForFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR} {
		_, err := vfs.OS.OpenFile(name, flag, 0)
		wantIs(t, "open a pipe", err, unix.EINVAL)
	}
	_, err := vfs.OS.OpenLock(name)
	wantIs(t, "open a pipe as a lock", err, unix.EINVAL)
}

// Nothing is written, made, cut or locked behind a symbolic link.
func TestLinksAreNotWrittenThrough(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS, "aiodfs": aiodfs.New(aiodtest.Start(t, aiod.Options{}))} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			other := filepath.Join(dir, "other")
			if err := os.WriteFile(other, []byte("words"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, target := range []string{other, filepath.Join(dir, "missing")} {
				link := target + ".link"
				if err := os.Symlink(target, link); err != nil {
					t.Fatal(err)
				}
				for _, flag := range []int{os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_WRONLY} {
					_, err := fsys.OpenFile(link, flag, 0o600)
					wantIs(t, "open a link", err, unix.ELOOP)
				}
				_, err := fsys.OpenLock(link)
				wantIs(t, "open a link as a lock", err, unix.ELOOP)
			}
			f, err := fsys.OpenFile(other+".link", os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, f, "words")
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) != 3 {
				t.Errorf("%v, %v", names, err)
			}
		})
	}
}

// A kernel that writes fewer bytes than asked: here at the limit of a file's
// size, inside a buffer.
func TestWriteVecStopsInsideABuffer(t *testing.T) {
	if os.Getenv("LOOM_VFS_LIMIT") == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestWriteVecStopsInsideABuffer$", "-test.v")
		cmd.Env = append(os.Environ(), "LOOM_VFS_LIMIT=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestWriteVecStopsInsideABuffer") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	f := create(t, vfs.OS, filepath.Join(t.TempDir(), "f"))
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 10, Max: unix.RLIM_INFINITY}); err != nil {
		t.Fatal(err)
	}
	n, err := f.WriteVec([][]byte{[]byte("abcd"), []byte("efgh"), []byte("ijkl"), []byte("mnop")}, 0)
	if n != 10 || !errors.Is(err, unix.EFBIG) {
		t.Errorf("WriteVec = %d, %v; want 10 bytes and EFBIG", n, err)
	}
	wantContent(t, f, "abcdefghij")
}
