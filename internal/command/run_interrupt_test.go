//go:build unix

package command

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// SIGINT ends a run without a terminal, out of an endless loop, with the last
// checkpoint as the state.
func TestInterruptBatch(t *testing.T) {
	cache, dir := t.TempDir(), filepath.Join(t.TempDir(), "state")
	c := loomctl(t, cache, "run", "--size", "64M", dir)
	c.Stdin = strings.NewReader("var n = 1; n\nn = 2; console.log('lost'); for (;;);\n")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	if line, err := r.ReadString('\n'); line != "1\n" {
		t.Fatalf("first answer %q, %v", line, err)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || len(rest) > 0 {
		t.Errorf("printed after the last checkpoint: %q, %v", rest, err)
	}
	exit, ok := errors.AsType[*exec.ExitError](c.Wait())
	if !ok || exit.ExitCode() != ExitInterrupted || errs.String() != "loomctl: interrupted: the store is at epoch 1\n" {
		t.Errorf("%v, %s", exit, &errs)
	}
	again := loomctl(t, cache, "run", "--size", "64M", dir)
	again.Stdin = strings.NewReader("n\n")
	if out, err := again.Output(); err != nil || string(out) != "1\n" {
		t.Errorf("next run: %q, %v", out, err)
	}
}
