package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"loomstore/internal/quickjs"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/loom"
)

// openSession is a session as run makes it, without a command line.
func openSession(t *testing.T, options *loom.Options) (s *session, stdout, stderr *bytes.Buffer) {
	t.Helper()
	module, err := os.ReadFile(requireGuest(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := loom.Open(filepath.Join(t.TempDir(), "state"), options)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	out := &output{out: stdout, err: stderr}
	vm, err := quickjs.Open(t.Context(), l, quickjs.Config{Module: module, Print: out.print})
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(vm.Close(context.Background()), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return &session{vm: vm, loom: l, out: out, every: 1}, stdout, stderr
}

func (s *session) evalLine(t *testing.T, source string) {
	t.Helper()
	if err := s.eval(t.Context(), input{source: source, file: "<test>", id: lineID, result: true}); err != nil {
		t.Fatal(err)
	}
}

// An engine that traps goes back to the last checkpoint, and the run goes on.
func TestTrap(t *testing.T) {
	s, stdout, stderr := openSession(t, &loom.Options{Size: 64 << 20})
	s.evalLine(t, "var n = 1; n")
	heap := s.loom.Bytes()[1<<20 : 5<<18]
	for i := range heap {
		heap[i] = 0xff
	}
	s.evalLine(t, "n = 2")
	if !strings.Contains(stderr.String(), "rolled back to epoch 1: 1 inputs are undone") {
		t.Errorf("stderr: %s", stderr)
	}
	s.evalLine(t, "n")
	if got := stdout.String(); got != "1\n1\n" {
		t.Errorf("stdout: %q", got)
	}
}

// fullDisk lets every preallocation fail while it is set.
type fullDisk struct{ atomic.Bool }

func (d *fullDisk) Inject(op errorfs.Op) *errorfs.Fault {
	if !d.Load() || op.Kind != vfs.Allocate {
		return nil
	}
	return &errorfs.Fault{Err: syscall.ENOSPC}
}

// While the disk is full nothing is printed and nothing is lost; when there is
// space again everything appears, in order.
func TestFullDisk(t *testing.T) {
	disk := new(fullDisk)
	s, stdout, stderr := openSession(t, &loom.Options{Size: 64 << 20, FS: errorfs.New(vfs.OS, disk)})
	s.evalLine(t, "var n = 1; n")
	disk.Store(true)
	s.evalLine(t, "n = 2; console.log('waits'); n")
	s.evalLine(t, "try { await checkpoint() } catch (e) { 'caught' }")
	if got := stdout.String(); got != "1\n" {
		t.Errorf("printed on a full disk: %q", got)
	}
	if !strings.Contains(stderr.String(), "loomctl: loom: checkpoint") {
		t.Errorf("stderr: %s", stderr)
	}
	if err := s.end(t.Context()); !errors.Is(err, loom.ErrNoSpace) {
		t.Errorf("end on a full disk: %v, want ErrNoSpace", err)
	}
	disk.Store(false)
	s.evalLine(t, "n")
	if got, want := stdout.String(), "1\nwaits\n2\n\"caught\"\n2\n"; got != want {
		t.Errorf("stdout: %q, want %q", got, want)
	}
	if err := s.end(t.Context()); err != nil {
		t.Error(err)
	}
}
