package image_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
)

// stripPID takes the process id out of the names of partial backups.
func stripPID(log string) string {
	return strings.ReplaceAll(log, fmt.Sprintf("partial-%d", os.Getpid()), "partial-PID")
}

// faults are the errors that every operation is given in turn.
var faults = []errorfs.Fault{
	{Err: syscall.EIO},
	{Err: syscall.ENOSPC},
	{Err: syscall.EINTR},
	{Err: io.ErrShortWrite, Partial: true},
}

// act is something a store does, from a state that prepare makes. begun is the
// epoch that the act may reach; prepare leaves the store at begun or begun-1.
type act struct {
	name    string
	prepare func(t *testing.T, fsys *memfs.FS, m *model) (acked uint64)
	run     func(fsys vfs.FS, m *model) (acked uint64, err error)
}

func openOn(fsys vfs.FS) (*image.Store, error) {
	s, _, err := image.Open(context.Background(), "/store", deterministic(fsys, 256))
	return s, err
}

// openSharing is openOn with an apply that shares every run of two pages.
func openSharing(fsys vfs.FS) (*image.Store, error) {
	o := deterministic(fsys, 256)
	o.ShareRun = 2
	s, _, err := image.Open(context.Background(), "/store", o)
	return s, err
}

// prepared leaves a store with two checkpoints behind; pending says whether
// the second is applied and closed.
func prepared(pending bool) func(t *testing.T, fsys *memfs.FS, m *model) uint64 {
	return func(t *testing.T, fsys *memfs.FS, m *model) uint64 {
		t.Helper()
		ctx := context.Background()
		s, err := openOn(fsys)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkpoint(s, m.take(1, step{4, []int{0, 1, 3}})); err != nil {
			t.Fatal(err)
		}
		staged, err := s.Stage(ctx, m.take(2, step{6, []int{1, 4}}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(staged); err != nil {
			t.Fatal(err)
		}
		if !pending {
			if err := s.Apply(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		return 2
	}
}

var acts = []act{
	{"creation", func(*testing.T, *memfs.FS, *model) uint64 { return 0 }, func(fsys vfs.FS, m *model) (uint64, error) {
		s, err := openOn(fsys)
		if err != nil {
			return 0, err
		}
		return 0, s.Close(context.Background())
	}},
	{"recovery", prepared(true), func(fsys vfs.FS, m *model) (uint64, error) {
		s, err := openOn(fsys)
		if err != nil {
			return 2, err
		}
		return 2, s.Close(context.Background())
	}},
	{"checkpoint", prepared(false), checkpointThree(openOn, step{6, []int{0, 5}})},
	{"checkpoint that shares blocks", prepared(false), checkpointThree(openSharing, step{8, []int{0, 1, 3, 5, 6, 7}})},
	{"checkpoint after recovery that shares blocks", prepared(true), checkpointThree(openSharing, step{6, []int{4, 5}})},
	{"checkpoint that grows", prepared(false), checkpointThree(openOn, step{8, []int{0, 5, 7}})},
	{"checkpoint that shrinks", prepared(false), checkpointThree(openOn, step{3, []int{2}})},
	{"checkpoint after recovery", prepared(true), checkpointThree(openOn, step{7, []int{0, 6}})},
}

// checkpointThree takes checkpoint 3, and tries what failed once more, as an
// engine does: a store is only given up when it is in doubt.
func checkpointThree(open func(vfs.FS) (*image.Store, error), st step) func(fsys vfs.FS, m *model) (acked uint64, err error) {
	return func(fsys vfs.FS, m *model) (uint64, error) {
		s, err := open(fsys)
		if err != nil {
			return 2, err
		}
		return threeOn(s, m.take(3, st))
	}
}

// threeOn is checkpointThree for a store that is open, and closes it.
func threeOn(s *image.Store, change image.Change) (acked uint64, err error) {
	ctx := context.Background()
	acked = 2
	var errs []error
	for range 2 {
		if acked < 3 {
			if err := stageAndCommit(s, change); err != nil {
				errs = append(errs, err)
				continue
			}
			acked = 3
		}
		if err := s.Apply(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		break
	}
	return acked, errors.Join(append(errs, s.Close(ctx))...)
}

func stageAndCommit(s *image.Store, c image.Change) error {
	st, err := s.Stage(context.Background(), c)
	if err != nil {
		return err
	}
	return s.Commit(st)
}

// Every operation of every act fails once with every error: afterwards the
// store is at an epoch between the acknowledged and the begun one, byte for
// byte, whether the process was only killed or the power was cut (R1, R4), and
// it opens and takes the next checkpoint (R8).
func TestEveryErrorAtEveryOperation(t *testing.T) {
	for _, a := range acts {
		for _, fault := range faults {
			t.Run(fmt.Sprintf("%s/%v", a.name, fault.Err), func(t *testing.T) {
				n := 0
				for ; ; n++ {
					if !oneFault(t, a, fault, n) {
						break
					}
				}
				if n < 10 {
					t.Fatalf("only %d operations", n)
				}
			})
		}
	}
}

// oneFault lets operation n of the act fail and reports whether there was one.
func oneFault(t *testing.T, a act, fault errorfs.Fault, n int) bool {
	t.Helper()
	mem := memfs.New()
	before := model{size: 256}
	acked := a.prepare(t, mem, &before)
	after := model{size: 256, pages: append([]uint64(nil), before.pages...)}
	nth := &errorfs.Nth{N: n, Fault: fault, Match: func(op errorfs.Op) bool { return op.Kind != vfs.Close }}
	got, err := a.run(errorfs.New(mem, nth), &after)
	acked = max(acked, got)
	if nth.Injected() == 0 {
		if err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		return false
	}
	for name, left := range map[string]*memfs.FS{
		"kill": mem.Clone(),
		"cut":  mem.CrashClone(memfs.Crash{Decide: memfs.DropAll}),
		"kept": mem.CrashClone(memfs.Crash{Decide: memfs.KeepAll}),
	} {
		s, openErr := openOn(left)
		if openErr != nil {
			t.Fatalf("operation %d, %s: does not open: %v (the act said: %v)", n, name, openErr, err)
		}
		epoch := s.State().Epoch
		want := before
		if epoch > uint64(2) {
			want = after
		}
		if epoch < acked {
			t.Fatalf("operation %d, %s: epoch %d, but %d was acknowledged", n, name, epoch, acked)
		}
		checkHolds(t, s, want, epoch)
		if err := checkpoint(s, want.take(epoch+1, step{len(want.pages) + 1, []int{len(want.pages)}})); err != nil {
			t.Fatalf("operation %d, %s: next checkpoint: %v", n, name, err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// A read that ends before the file does is not taken for a page of zeros, which
// an import would give a hash, and so its blessing.
func TestImportIsNotFooledByShortReads(t *testing.T) {
	for n := 0; ; n++ {
		mem := memfs.New()
		veresDirectory(t, mem)
		nth := &errorfs.Nth{N: n, Fault: errorfs.Fault{Err: io.EOF, Partial: true}, Match: func(op errorfs.Op) bool { return op.Kind == vfs.Read }}
		s, _, err := image.Open(context.Background(), "/store", deterministic(errorfs.New(mem, nth), 16384))
		if nth.Injected() == 0 {
			if n < 3 {
				t.Fatalf("only %d reads", n)
			}
			return
		}
		if err == nil {
			err = s.Close(context.Background())
			if err != nil {
				t.Fatal(err)
			}
		}
		o := deterministic(mem, 16384)
		o.Full = true
		s, _, err = image.Open(context.Background(), "/store", o)
		if err != nil {
			t.Fatalf("read %d: %v", n, err)
		}
		checkHolds(t, s, model{size: 16384, pages: []uint64{1, 2, 2}}, 0)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
