package image_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// waysToCopy are file systems that share blocks, and that do not.
var waysToCopy = map[string]func(vfs.FS) vfs.FS{
	"shared": func(fsys vfs.FS) vfs.FS { return fsys },
	"copied": func(fsys vfs.FS) vfs.FS {
		return struct {
			vfs.FS
			vfs.Freer
		}{copying(fsys), fsys.(vfs.Freer)}
	},
}

// A copy that fails leaves nothing behind: no directory on the way to it, and
// what was there before as it was.
func TestFailedCopyLeavesNothing(t *testing.T) {
	ctx := context.Background()
	type copier = func(context.Context, string, string, *image.Options, func(int, int)) (image.BackupReport, error)
	copiers := map[string]copier{"Backup": image.Backup, "Restore": image.Restore, "Export": image.Export}
	for name, do := range copiers {
		for _, c := range []struct {
			name string
			hurt func(t *testing.T, m *memfs.FS)
			want error
		}{
			{"no store", func(t *testing.T, m *memfs.FS) { put(t, m, "/store/sums.bin", nil) }, patch.ErrDamaged},
			{"a bad page", func(t *testing.T, m *memfs.FS) { put(t, m, "/store/image.bin", make([]byte, 4*16384)) }, patch.ErrDamaged},
			{"no space", func(t *testing.T, m *memfs.FS) { m.SetCapacity(m.Used() + 2*16384) }, image.ErrNoSpace},
		} {
			for how, over := range waysToCopy {
				t.Run(name+" "+c.name+" "+how, func(t *testing.T) {
					m := memfs.New()
					closedStore(t, m)
					c.hurt(t, m)
					before := contents(t, m, "/store")
					_, err := do(ctx, "/store", "/new/copy", &image.Options{FS: over(m)}, nil)
					if !errors.Is(err, c.want) {
						t.Errorf("%v, want %v", err, c.want)
					}
					if full, ok := errors.AsType[*image.NoSpaceError](err); ok {
						if free, _ := m.Free("/"); full.Need != 4*16384 || full.Available < 0 || full.Available > free {
							t.Errorf("needs %d bytes, %d available", full.Need, full.Available)
						}
					}
					if _, err := m.Stat("/new"); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("/new was left: %v", err)
					}
					if diff := cmp.Diff(before, contents(t, m, "/store")); diff != "" {
						t.Errorf("the source changed:\n%s", diff)
					}
				})
			}
		}
	}
}

func TestCopyOverwritesNothing(t *testing.T) {
	ctx, m := context.Background(), memfs.New()
	closedStore(t, m)
	o := &image.Options{FS: m}
	for _, dir := range []string{"/full", "/pier", "/pier/.urb", "/pier/.urb/chk", "/empty"} {
		if err := m.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, m, "/full/notes", []byte("older"))
	put(t, m, "/pier/.urb/chk/image.bin", []byte("older"))
	for _, refused := range []struct {
		name string
		run  func() error
	}{
		{"Backup to a full directory", func() error { _, err := image.Backup(ctx, "/store", "/full", o, nil); return err }},
		{"Backup to an empty directory", func() error { _, err := image.Backup(ctx, "/store", "/empty", o, nil); return err }},
		{"Restore to a full directory", func() error { _, err := image.Restore(ctx, "/store", "/full", o, nil); return err }},
		{"Export into the store itself", func() error { _, err := image.Export(ctx, "/store", "/store", o, nil); return err }},
		{"Export to a pier with a snapshot", func() error { _, err := image.Export(ctx, "/store", "/pier", o, nil); return err }},
		{"Export to a store", func() error { _, err := image.Export(ctx, "/store", "/store", o, nil); return err }},
	} {
		if err := refused.run(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v, want %v", refused.name, err, fs.ErrExist)
		}
	}
	if _, err := m.Stat("/store/.urb"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a pier in the store: %v", err)
	}
	if contents(t, m, "/full")["notes"] != "older" || contents(t, m, "/pier/.urb/chk")["image.bin"] != "older" {
		t.Error("something was overwritten")
	}
	if dir, err := image.Resolve(m, "/store"); dir != "/store" || err != nil {
		t.Errorf("/store is looked for in %s, %v", dir, err)
	}
}

// Restore gives a store of its own identity, also in an empty directory.
func TestRestore(t *testing.T) {
	ctx, m := context.Background(), memfs.New()
	closedStore(t, m)
	if err := m.Mkdir("/empty", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"/empty", "/new/deep/copy"} {
		report, err := image.Restore(ctx, "/store", dst, &image.Options{FS: m}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, opened, err := image.Open(ctx, dst, &image.Options{FS: m, Full: true})
		if err != nil {
			t.Fatal(err)
		}
		checkHolds(t, s, model{size: 16384, pages: []uint64{1, 1, 0, 1}}, 1)
		if got := s.State().Store; opened.Action != image.ActionNone || got != report.Copy || got == report.State.Store {
			t.Errorf("%s: action %s, store %s, reported %s, source %s", dst, opened.Action, got, report.Copy, report.State.Store)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// Where there is nothing, nothing is made.
func TestNothingIsMadeOfNothing(t *testing.T) {
	fsys, ctx := memfs.New(), context.Background()
	if err := fsys.Mkdir("/empty", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "/file", []byte("a file"))
	o := &image.Options{FS: fsys}
	for _, dir := range []string{"/empty", "/missing", "/file", ""} {
		for what, do := range map[string]func() error{
			"Open":           func() error { _, _, err := image.Open(ctx, dir, o); return err },
			"Examine":        func() error { _, err := image.Examine(ctx, dir, o); return err },
			"Inspect":        func() error { _, err := image.Inspect(ctx, dir, o); return err },
			"InspectPatches": func() error { _, err := image.InspectPatches(dir, o); return err },
			"Verify":         func() error { _, err := image.Verify(ctx, dir, o, nil, nil); return err },
			"Backup":         func() error { _, err := image.Backup(ctx, dir, "/new/copy", o, nil); return err },
			"Export":         func() error { _, err := image.Export(ctx, dir, "/new/pier", o, nil); return err },
		} {
			if err := do(); !errors.Is(err, image.ErrNotStore) {
				t.Errorf("%s of %s: %v, want %v", what, dir, err, image.ErrNotStore)
			}
		}
	}
	if got := contents(t, fsys, "/empty"); len(got) > 0 {
		t.Errorf("files made: %v", got)
	}
	for _, name := range []string{"/missing", "/new"} {
		if _, err := fsys.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A copy that was killed leaves a directory, under a name that a later process
// of the same id would choose, too.
func TestLeftoverOfAKilledCopy(t *testing.T) {
	ctx := context.Background()
	m := memfs.New()
	closedStore(t, m)
	leftover := fmt.Sprintf("/copy.partial-%d", os.Getpid())
	if err := m.Mkdir(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Backup(ctx, "/store", "/copy", &image.Options{FS: m}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stat(leftover); err != nil {
		t.Errorf("what may be another's was taken away: %v", err)
	}
}

// A checkpoint without pages that shrinks the image, or lets it grow, is
// committed and not applied: the copy and verify take it as it is.
func TestCopyBesideAnEmptyPatch(t *testing.T) {
	for _, pages := range []int{2, 6} {
		ctx, m := context.Background(), memfs.New()
		s, _, err := image.Open(ctx, "/store", deterministic(m, 16384))
		if err != nil {
			t.Fatal(err)
		}
		held := model{size: 16384}
		if err := checkpoint(s, held.take(1, step{4, []int{0, 1, 3}})); err != nil {
			t.Fatal(err)
		}
		staged, err := s.Stage(ctx, held.take(2, step{pages, nil}))
		if err == nil {
			err = s.Commit(staged)
		}
		if err != nil {
			t.Fatal(err)
		}
		look := func(when string) {
			t.Helper()
			o := &image.Options{FS: m}
			bad := func(d *patch.Defect) { t.Errorf("%d pages, %s: %v", pages, when, d) }
			if _, err := image.Verify(ctx, "/store", o, bad, nil); err != nil {
				t.Error(err)
			}
			if _, err := image.VerifyQuick(ctx, "/store", o, bad); err != nil {
				t.Error(err)
			}
			dst := fmt.Sprintf("/copy %s", when)
			if _, err := image.Backup(ctx, "/store", dst, o, nil); err != nil {
				t.Fatalf("%d pages, %s: %v", pages, when, err)
			}
			copied, _, err := image.Open(ctx, dst, &image.Options{FS: m, Full: true})
			if err != nil {
				t.Fatal(err)
			}
			checkHolds(t, copied, held, 2)
			if err := copied.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
		look("committed")
		if err := s.Apply(ctx); err != nil {
			t.Fatal(err)
		}
		look("applied")
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		look("closed")
	}
}

// The death of a process in the middle of an apply that writes entries again
// leaves zeros in the table. The image and the patch still prove each other: a
// copy is possible, as opening is.
func TestCopyBesideAHalfWrittenTable(t *testing.T) {
	ctx, m := context.Background(), memfs.New()
	s, _, err := image.Open(ctx, "/store", deterministic(m, 16384))
	if err != nil {
		t.Fatal(err)
	}
	held := model{size: 16384}
	if err := checkpoint(s, held.take(1, step{4, []int{0, 1, 3}})); err != nil {
		t.Fatal(err)
	}
	if err := stageAndCommit(s, held.take(2, step{5, []int{1, 4}})); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	sums, err := m.OpenFile("/store/sums.bin", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sums.WriteAt(make([]byte, 4*8), 8192); err != nil {
		t.Fatal(err)
	}
	o := &image.Options{FS: m}
	if _, err := image.Verify(ctx, "/store", o, func(d *patch.Defect) { t.Error(d) }, nil); err != nil {
		t.Error(err)
	}
	if _, err := image.Backup(ctx, "/store", "/copy", o, nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/copy", "/store"} {
		s, _, err := image.Open(ctx, dir, &image.Options{FS: m, Full: true})
		if err != nil {
			t.Fatal(err)
		}
		checkHolds(t, s, held, 2)
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// A page that is wrong is still found.
	put(t, m, "/copy/image.bin", make([]byte, 5*16384))
	if _, err := image.Backup(ctx, "/copy", "/copy2", o, nil); !errors.Is(err, patch.ErrDamaged) {
		t.Errorf("a copy of a damaged image: %v", err)
	}
}
