package image_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// A closed store opens without its memory.bin, which it does not need. The new
// one's name is durable before a checkpoint relies on it: else the power cut
// behind the commit point would take the body away.
func TestNamesMadeByOpenAreDurable(t *testing.T) {
	mem := memfs.New()
	m := model{size: 256}
	prepared(false)(t, mem, &m)
	if err := mem.Remove("/store/" + patch.MemoryFile); err != nil {
		t.Fatal(err)
	}
	if err := mem.SyncDir("/store"); err != nil {
		t.Fatal(err)
	}
	s, err := openOn(mem)
	if err != nil {
		t.Fatal(err)
	}
	if err := stageAndCommit(s, m.take(3, step{6, []int{2}})); err != nil {
		t.Fatal(err)
	}
	left := mem.CrashClone(memfs.Crash{Decide: memfs.DropAll})
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s, err = openOn(left)
	if err != nil {
		t.Fatal(err)
	}
	checkHolds(t, s, m, 3)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// A page count that the arena can not have is refused before anything is
// allocated or read for it (R10): to prove this one takes 2^44 hashes.
func TestPageCountsAreBoundedBeforeTheyAreUsed(t *testing.T) {
	mem, g := memfs.New(), patch.Geometry{PageSize: 256}
	m := model{size: 256}
	prepared(false)(t, mem, &m)
	f, err := mem.OpenFile("/store/"+patch.ControlFile, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	control, err := patch.ReadControl(f, patch.ControlSize, g)
	if err != nil {
		t.Fatal(err)
	}
	rec := *control.Best()
	rec.Base, rec.Epoch, rec.OldPages, rec.OldDigest = rec.Epoch, rec.Epoch+1, rec.NewPages, rec.NewDigest
	rec.NewPages, rec.Low, rec.Lines, rec.LinesHash = 1<<44, 256<<44, 0, patch.LinesHash(nil)
	block := rec.Marshal(g)
	if _, err := f.WriteAt(append(block, block...), patch.CopyOffset(rec.Epoch, 0)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o := deterministic(mem, 256)
	o.MaxPages = 100
	done := make(chan error, 1)
	go func() {
		_, _, err := image.Open(context.Background(), "/store", o)
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, patch.ErrMismatch) {
			t.Errorf("2^44 pages in an arena of 100: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Open counts to 2^44")
	}
}

// What only looks, and has no arena for a bound, is not led astray either.
func TestLookingAtAnImpossibleBody(t *testing.T) {
	ctx, mem := context.Background(), memfs.New()
	closedStore(t, mem)
	f, err := mem.OpenFile("/store/"+patch.ControlFile, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	control, err := patch.ReadControl(f, patch.ControlSize, patch.Standard)
	if err != nil {
		t.Fatal(err)
	}
	rec := *control.Best()
	rec.Base, rec.Epoch, rec.OldPages, rec.OldDigest = rec.Epoch, rec.Epoch+1, rec.NewPages, rec.NewDigest
	rec.NewPages, rec.Low, rec.Lines, rec.BodyOffset = 1<<48, 1<<62, 1<<48, 1<<62
	block := rec.Marshal(patch.Standard)
	if _, err := f.WriteAt(append(block, block...), patch.CopyOffset(rec.Epoch, 0)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o := &image.Options{FS: mem}
	if p, err := image.InspectPatches("/store", o); err != nil || !errors.Is(p.BodyErr, patch.ErrDamaged) {
		t.Errorf("InspectPatches: %+v, %v", p, err)
	}
	if _, err := image.Verify(ctx, "/store", o, func(*patch.Defect) {}, nil); !errors.Is(err, patch.ErrMismatch) {
		t.Errorf("Verify: %v", err)
	}
	if _, err := image.Backup(ctx, "/store", "/copy", o, nil); !errors.Is(err, patch.ErrMismatch) {
		t.Errorf("Backup: %v", err)
	}
}

// A commit that is cut off may leave the first and the last sector of its
// record, and garbage between. The next record is zero there: cut off in turn,
// it must not make the first one whole, whose body is gone by then.
func TestTornRecordIsNotCompleted(t *testing.T) {
	for copy := range 2 {
		mem := memfs.New()
		m := model{size: 256}
		prepared(false)(t, mem, &m)
		before := model{size: 256, pages: append([]uint64(nil), m.pages...)}
		at := patch.CopyOffset(3, copy)
		block := func(fsys *memfs.FS, change func(f vfs.File)) {
			t.Helper()
			f, err := fsys.OpenFile("/store/"+patch.ControlFile, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			change(f)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}

		// The first attempt at checkpoint 3, as far as its record reached the disk.
		first := mem.Clone()
		s, err := openOn(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := stageAndCommit(s, m.take(3, step{6, []int{2, 3}})); err != nil {
			t.Fatal(err)
		}
		torn := make([]byte, patch.BlockSize)
		block(first, func(f vfs.File) {
			if _, err := f.ReadAt(torn, at); err != nil {
				t.Fatal(err)
			}
		})
		middle := torn[patch.SectorSize : patch.BlockSize-patch.SectorSize]
		for i := range middle {
			middle[i] = 0xa5
		}
		block(mem, func(f vfs.File) {
			if _, err := f.WriteAt(torn, at); err != nil {
				t.Fatal(err)
			}
		})

		// The second attempt, of which only the sectors between reach it.
		if s, err = openOn(mem); err != nil {
			t.Fatal(err)
		}
		m = model{size: 256, pages: append([]uint64(nil), before.pages...)}
		if _, err := s.Stage(context.Background(), m.take(3, step{6, []int{0, 5}})); err != nil {
			t.Fatal(err)
		}
		left := mem.Clone()
		block(left, func(f vfs.File) {
			if _, err := f.WriteAt(make([]byte, len(middle)), at+patch.SectorSize); err != nil {
				t.Fatal(err)
			}
		})
		if s, err = openOn(left); err != nil {
			t.Fatalf("copy %d: %v", copy, err)
		}
		checkHolds(t, s, before, 2)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
