package image_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
	"loomstore/patch"
)

// failing lets the operations of one kind on one file fail while on is set.
type failing struct {
	kind vfs.Kind
	file string
	on   bool
}

func (f *failing) Inject(op errorfs.Op) *errorfs.Fault {
	if !f.on || op.Kind != f.kind || !strings.HasSuffix(op.Name, "/"+f.file) {
		return nil
	}
	return &errorfs.Fault{Err: syscall.EIO}
}

// A record that could not be written or synced leaves its checkpoint in doubt:
// the process takes no further one, although the disk has healed, and the next
// Open decides (R4).
func TestInDoubtNothingFollows(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.Write, vfs.Sync} {
		t.Run(string(kind), func(t *testing.T) {
			mem, ctx := memfs.New(), context.Background()
			m := model{size: 256}
			prepared(false)(t, mem, &m)
			fault := &failing{kind: kind, file: patch.ControlFile}
			s, err := openOn(errorfs.New(mem, fault))
			if err != nil {
				t.Fatal(err)
			}
			staged, err := s.Stage(ctx, m.take(3, step{6, []int{2}}))
			if err != nil {
				t.Fatal(err)
			}
			fault.on = true
			if err := s.Commit(staged); !errors.Is(err, image.ErrInDoubt) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("Commit: %v, want in doubt because of EIO", err)
			}
			fault.on = false
			if err := s.Commit(staged); !errors.Is(err, image.ErrInDoubt) {
				t.Errorf("a second Commit: %v", err)
			}
			if _, err := s.Stage(ctx, m.take(3, step{6, []int{2}})); !errors.Is(err, image.ErrInDoubt) {
				t.Errorf("a Stage: %v", err)
			}
			if err := s.Close(ctx); err != nil && !errors.Is(err, image.ErrInDoubt) {
				t.Error(err)
			}
		})
	}
}

// After an apply whose sync failed, what the cache shows proves nothing, the
// lengths included: the next attempt does everything again (R4).
func TestApplyAfterAnErrorDoesEverythingAgain(t *testing.T) {
	for _, file := range []string{patch.ImageFile, patch.SumsFile} {
		mem, ctx := memfs.New(), context.Background()
		m := model{size: 256}
		prepared(false)(t, mem, &m)
		fault := &failing{kind: vfs.Sync, file: file}
		log := oplog.New(errorfs.New(mem, fault), oplog.Options{Root: "/store"})
		s, err := openOn(log)
		if err != nil {
			t.Fatal(err)
		}
		if err := stageAndCommit(s, m.take(3, step{9, []int{2, 8}})); err != nil {
			t.Fatal(err)
		}
		fault.on = true
		if err := s.Apply(ctx); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: %v", file, err)
		}
		fault.on = false
		log.Reset()
		if err := s.Apply(ctx); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"truncate image.bin", "write image.bin", "sync image.bin", "truncate sums.bin", "write sums.bin", "sync sums.bin"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("after a failed sync of %s there is no %q in:\n%s", file, want, log.String())
			}
		}
		checkHolds(t, s, m, 3)
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
