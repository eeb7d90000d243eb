package image_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// contents reads every file of a directory.
func contents(t *testing.T, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		f, err := fsys.OpenFile(dir+"/"+e.Name(), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		length, _, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, length)
		if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

// closedStore makes a store of one checkpoint whose lock file names an owner
// of long ago.
func closedStore(t *testing.T, fsys vfs.FS) {
	t.Helper()
	closedStoreIn(t, "/store", deterministic(fsys, 16384))
	put(t, fsys, "/store/lock", []byte("1\n"))
}

func closedStoreIn(t *testing.T, dir string, o *image.Options) {
	t.Helper()
	ctx := context.Background()
	s, _, err := image.Open(ctx, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	m := model{size: 16384}
	if err := checkpoint(s, m.take(1, step{4, []int{0, 1, 3}})); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// A refusal changes nothing: not the content of a file, not the list of files.
func TestRefusalChangesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, fsys vfs.FS)
		want error
	}{
		{"vere with a torn image", func(t *testing.T, fsys vfs.FS) {
			veresDirectory(t, fsys)
			put(t, fsys, "/store/image.bin", make([]byte, 16384+1))
			put(t, fsys, "/store/memory.bin", make([]byte, 3))
		}, patch.ErrDamaged},
		{"vere of another version", func(t *testing.T, fsys vfs.FS) {
			veresDirectory(t, fsys)
			put(t, fsys, "/store/control.bin", []byte{3, 0, 0, 0, 1, 1, 1, 1})
		}, patch.ErrMismatch},
		{"ours without control.bin", func(t *testing.T, fsys vfs.FS) {
			closedStore(t, fsys)
			if err := fsys.Remove("/store/control.bin"); err != nil {
				t.Fatal(err)
			}
		}, patch.ErrDamaged},
		{"ours with a longer image", func(t *testing.T, fsys vfs.FS) {
			closedStore(t, fsys)
			put(t, fsys, "/store/image.bin", make([]byte, 5*16384))
		}, patch.ErrDamaged},
		{"ours, larger than the arena", closedStore, patch.ErrMismatch},
		{"a half-created store", func(t *testing.T, fsys vfs.FS) {
			closedStore(t, fsys)
			put(t, fsys, "/store/image.bin", nil)
			put(t, fsys, "/store/control.bin", nil)
			put(t, fsys, "/store/sums.bin", nil)
		}, image.ErrNotStore},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, ctx := memfs.New(), context.Background()
			c.make(t, fsys)
			o := &image.Options{FS: fsys, MaxPages: 3}
			if !errors.Is(c.want, patch.ErrMismatch) {
				o.MaxPages = 0
			}
			before := contents(t, fsys, "/store")
			check := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
				if diff := cmp.Diff(before, contents(t, fsys, "/store")); diff != "" {
					t.Fatalf("%s changed the directory:\n%s", what, diff)
				}
			}
			_, err := image.Examine(ctx, "/store", o)
			check("Examine", err)
			_, _, err = image.Open(ctx, "/store", o)
			check("Open", err)
			if _, err := image.Inspect(ctx, "/store", o); err != nil {
				t.Errorf("Inspect: %v", err)
			}
			check("Inspect", c.want)
		})
	}
}

// Examine reads only: it may share the lock with another Examine, but not with
// an owner.
func TestExamineKeepsOwnersOut(t *testing.T) {
	fsys, ctx := memfs.New(), context.Background()
	closedStore(t, fsys)
	o := deterministic(fsys, 16384)
	s, _, err := image.Open(ctx, "/store", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ctx)
	_, err = image.Examine(ctx, "/store", o)
	if locked, ok := errors.AsType[*vfs.LockedError](err); !ok || locked.PID != os.Getpid() {
		t.Errorf("Examine of an open store: %v, want it locked by process %d", err, os.Getpid())
	}
}
