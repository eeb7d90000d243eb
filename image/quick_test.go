package image_test

import (
	"context"
	"errors"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// hurt flips one byte of a file.
func hurt(t *testing.T, m *memfs.FS, name string, at int) {
	t.Helper()
	b := []byte(contents(t, m, "/store")[name])
	b[at] ^= 1
	put(t, m, "/store/"+name, b)
}

// What VerifyQuick sees, and what only Verify does. The store was left with a
// committed patch, applied or not.
func TestVerifyQuick(t *testing.T) {
	for _, c := range []struct {
		name        string
		pending     bool
		hurt        func(t *testing.T, m *memfs.FS)
		quick, full string // file of the first defect, "" if there is none
	}{
		{"whole", false, func(*testing.T, *memfs.FS) {}, "", ""},
		{"whole and pending", true, func(*testing.T, *memfs.FS) {}, "", ""},
		{"a page of the image", false, func(t *testing.T, m *memfs.FS) { hurt(t, m, "image.bin", 100) }, "", "image.bin"},
		{"an entry of the table", false, func(t *testing.T, m *memfs.FS) { hurt(t, m, "sums.bin", 8192) }, "sums.bin", "image.bin"},
		{"the header", false, func(t *testing.T, m *memfs.FS) { hurt(t, m, "sums.bin", 4096); hurt(t, m, "sums.bin", 0) }, "sums.bin", "sums.bin"},
		{"both records", false, func(t *testing.T, m *memfs.FS) {
			for _, at := range []int{0, 4096, 8192, 12288} {
				hurt(t, m, "control.bin", at)
			}
		}, "control.bin", "control.bin"},
		{"a page of the patch", true, func(t *testing.T, m *memfs.FS) { hurt(t, m, "memory.bin", 4096) }, "memory.bin", "memory.bin"},
		{"a line of the patch", true, func(t *testing.T, m *memfs.FS) { hurt(t, m, "memory.bin", 8) }, "memory.bin", "memory.bin"},
		{"the image's length", false, func(t *testing.T, m *memfs.FS) { put(t, m, "/store/image.bin", make([]byte, 16384)) }, "image.bin", "image.bin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ctx := memfs.New(), context.Background()
			s, _, err := image.Open(ctx, "/store", deterministic(m, 16384))
			if err != nil {
				t.Fatal(err)
			}
			st, err := s.Stage(ctx, (&model{size: 16384}).take(1, step{4, []int{0, 1, 3}}))
			if err == nil {
				err = s.Commit(st)
			}
			if err == nil && !c.pending {
				err = s.Apply(ctx)
			}
			if err := errors.Join(err, s.Close(ctx)); err != nil {
				t.Fatal(err)
			}
			c.hurt(t, m)
			before := contents(t, m, "/store")
			check := func(what, want string, verify func(func(*patch.Defect)) (image.VerifyReport, error)) {
				t.Helper()
				got := ""
				report, err := verify(func(d *patch.Defect) {
					if got == "" {
						got = d.File
					}
				})
				if err != nil || got != want || (report.Defects > 0) != (want != "") {
					t.Errorf("%s: first defect in %q of %d, error %v; want %q", what, got, report.Defects, err, want)
				}
			}
			check("quick", c.quick, func(d func(*patch.Defect)) (image.VerifyReport, error) {
				return image.VerifyQuick(ctx, "/store", &image.Options{FS: m}, d)
			})
			check("full", c.full, func(d func(*patch.Defect)) (image.VerifyReport, error) {
				return image.Verify(ctx, "/store", &image.Options{FS: m}, d, nil)
			})
			for name, content := range contents(t, m, "/store") {
				if before[name] != content {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

// Verify tells a directory without page hashes from a damaged store.
func TestVerifyOfWhatIsNoStore(t *testing.T) {
	ctx, m := context.Background(), memfs.New()
	veresDirectory(t, m)
	if _, err := image.Verify(ctx, "/store", &image.Options{FS: m}, nil, nil); !errors.Is(err, patch.ErrMismatch) {
		t.Errorf("vere: %v, want %v", err, patch.ErrMismatch)
	}
	m = memfs.New()
	closedStore(t, m)
	for _, name := range []string{"image.bin", "control.bin", "sums.bin"} {
		put(t, m, "/store/"+name, nil)
	}
	if _, err := image.Verify(ctx, "/store", &image.Options{FS: m}, nil, nil); !errors.Is(err, image.ErrNotStore) {
		t.Errorf("half-created: %v, want %v", err, image.ErrNotStore)
	}
}
