package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/image"
)

// change is a checkpoint of four pages that brings the given ones to a
// generation.
func change(generation int, pages ...int) image.Change {
	return image.Change{Pages: pages, Content: func(i int) []byte { return []byte(verePage(pages[i], generation)) },
		Low: 4 * 16384, App: fmt.Appendf(nil, "generation %d", generation)}
}

func openStore(t *testing.T, dir string) *image.Store {
	t.Helper()
	s, _, err := image.Open(context.Background(), dir, &image.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t *testing.T, s *image.Store, c image.Change) {
	t.Helper()
	st, err := s.Stage(context.Background(), c)
	if err == nil {
		err = s.Commit(st)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func apply(t *testing.T, s *image.Store) {
	t.Helper()
	if err := s.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func closeStore(t *testing.T, s *image.Store) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// newStore makes a store of two checkpoints in a new directory, closed in
// order, or with the second committed and not applied.
func newStore(t *testing.T, pending bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	commit(t, s, change(1, 0, 1, 2, 3))
	apply(t, s)
	commit(t, s, change(2, 1, 3))
	if !pending {
		apply(t, s)
	}
	closeStore(t, s)
	return dir
}

// flip changes one bit of a file.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	b[0] ^= 1
	if err == nil {
		_, err = f.WriteAt(b[:], at)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// childEnviron makes the test binary be loomctl. A race build would sleep for
// a second before it exits.
func childEnviron() []string {
	return append(os.Environ(), childEnv+"=1", "GORACE=atexit_sleep_ms=0")
}

// child makes the command that runs loomctl in another process.
func child(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = childEnviron()
	return c
}

// runChild runs a child to its end.
func runChild(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, stderr strings.Builder
	c.Stdout, c.Stderr = &out, &stderr
	err := c.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// holdEnv makes TestHoldStore the process that has a store open.
const holdEnv = "LOOMCTL_TEST_HOLD"

// TestHoldStore tests nothing: holdStore runs it in another process.
func TestHoldStore(t *testing.T) {
	dir := os.Getenv(holdEnv)
	if dir == "" {
		return
	}
	s := openStore(t, dir)
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
	closeStore(t, s)
}

// holdStore has another process open the store in dir, until release. It
// returns that process's id.
func holdStore(t *testing.T, dir string) (pid int, release func()) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestHoldStore$")
	c.Env = append(os.Environ(), holdEnv+"="+dir)
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
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	done := false
	release = func() {
		if done {
			return
		}
		done = true
		_ = in.Close()
		_, _ = io.Copy(io.Discard, lines)
		if err := c.Wait(); err != nil {
			t.Errorf("the process that held the store: %v", err)
		}
	}
	t.Cleanup(release)
	if line != "open\n" {
		t.Fatalf("the process that is to hold the store said %q, %v", line, err)
	}
	return c.Process.Pid, release
}
