//go:build unix

package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// SIGINT has one text, whatever it interrupts.
func TestInterruptedText(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"ring":  ringError(fmt.Errorf("pop message 3: %w", ctx.Err())),
		"vmbus": damaged(fmt.Errorf("packet 3, ring empty: %w", (&polling{ctx: ctx, looks: 1000}).wait())),
	} {
		var stderr bytes.Buffer
		if code := (&streams{err: &stderr}).report(err); code != ExitInterrupted || stderr.String() != "loomctl: interrupted\n" {
			t.Errorf("%s: exit %d, %q", name, code, stderr.String())
		}
	}
}

// A command that waits where no interruption reaches it ends at the second.
func TestInterruptTwice(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := child("ring", "dump", pipe)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the reader
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ended := make(chan error)
	go func() { ended <- c.Wait() }()
	for range 3000 { // the second one must not come too early
		if err := c.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
				t.Errorf("ended with %v, want SIGINT", err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("can not be interrupted")
	writer.Close() // ends it
	<-ended
}
