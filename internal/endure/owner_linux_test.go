package endure

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"loomstore/internal/vfs"
	"loomstore/loom"
)

func init() {
	others["hold"], others["try"], others["idle"] = hold, try, idle
}

// hold keeps a store open until its input ends. It has started a program, which
// outlives it.
func hold(dir string) error {
	l, err := loom.Open(dir, &loom.Options{Size: arena})
	if err != nil {
		return err
	}
	child := program("idle", "")
	child.Stdin = os.Stdin
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println("open")
	if err := idle(""); err != nil {
		return err
	}
	return errors.Join(child.Wait(), l.Close())
}

// idle ends when its input does.
func idle(string) error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// try says who has the store.
func try(dir string) error {
	l, err := loom.Open(dir, &loom.Options{Size: arena})
	var locked *vfs.LockedError
	if errors.As(err, &locked) {
		fmt.Println("locked by", locked.PID)
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Println("open")
	return l.Close()
}

// tried runs try in another process.
func tried(t *testing.T, dir string) string {
	t.Helper()
	out, err := program("try", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// isLocked opens the store here, where another has it.
func isLocked(t *testing.T, dir string, pid int) {
	t.Helper()
	var locked *vfs.LockedError
	if _, err := loom.Open(dir, &loom.Options{Size: arena}); !errors.As(err, &locked) || !errors.Is(err, loom.ErrLocked) || locked.PID != pid {
		t.Fatalf("got %v, want locked by process %d", err, pid)
	}
}

// opens opens and closes the store here.
func opens(t *testing.T, dir string) {
	t.Helper()
	l, err := loom.Open(dir, &loom.Options{Size: arena})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// started starts a program whose input ends with the test, and waits for its
// word.
func started(t *testing.T, c *exec.Cmd, word string) {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = c.Wait() // perhaps it was killed
	})
	if word == "" {
		return
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != word+"\n" {
		t.Fatalf("the program says %q, %v", line, err)
	}
}

// Whoever comes second is refused at once, told by whom, and changes nothing;
// and once the first is gone, however it went, the store opens at once.
func TestSecondOpener(t *testing.T) {
	here := fmt.Sprintf("locked by %d", os.Getpid())
	t.Run("this process", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		l, err := loom.Open(dir, &loom.Options{Size: arena})
		if err != nil {
			t.Fatal(err)
		}
		isLocked(t, dir, os.Getpid())
		if got := tried(t, dir); got != here {
			t.Errorf("a child says %q, want %q", got, here)
		}
		// A refused opener gives back nothing that is not its own.
		isLocked(t, dir, os.Getpid())
		if got := tried(t, dir); got != here {
			t.Errorf("a child says %q, want %q", got, here)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		opens(t, dir)
	})
	t.Run("a child that outlives the close", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		l, err := loom.Open(dir, &loom.Options{Size: arena})
		if err != nil {
			t.Fatal(err)
		}
		started(t, program("idle", ""), "")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		opens(t, dir)
		if got := tried(t, dir); got != "open" {
			t.Errorf("a child says %q", got)
		}
	})
	t.Run("another process, killed", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		holder := program("hold", dir)
		started(t, holder, "open")
		isLocked(t, dir, holder.Process.Pid)
		if got, want := tried(t, dir), fmt.Sprintf("locked by %d", holder.Process.Pid); got != want {
			t.Errorf("a child says %q, want %q", got, want)
		}
		if err := holder.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, err := holder.Process.Wait(); err != nil {
			t.Fatal(err)
		}
		opens(t, dir) // though the program that it started lives
	})
}
