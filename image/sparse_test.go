package image_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
	"loomstore/patch"
)

// sparsePages are the pages of a store of 4096 that were written, at the edges
// of holes and of what is read at once.
var sparsePages = []int{0, 15, 16, 17, 2000, 4095}

// sparseStore is what Open makes of an image with holes.
func sparseStore(t *testing.T, fsys vfs.FS, dir string) model {
	t.Helper()
	const pages = 4096
	m := model{size: 16384, pages: make([]uint64, pages)}
	if err := fsys.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile(filepath.Join(dir, "image.bin"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Truncate(pages * 16384)
	for _, p := range sparsePages {
		m.pages[p] = 1
		_, writeErr := f.WriteAt(m.content(p), int64(p)*16384)
		err = errors.Join(err, writeErr)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	s, report, err := image.Open(context.Background(), dir, &image.Options{FS: fsys})
	if err != nil || report.Action != image.ActionImported {
		t.Fatalf("%+v, %v", report, err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return m
}

// Holes are neither read nor written by a copy, and stay holes.
func TestCopyKeepsHoles(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		fsys vfs.FS
		dir  string
	}{"memfs": {memfs.New(), "/"}, "os": {vfs.OS, t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			src, dst := filepath.Join(c.dir, "store"), filepath.Join(c.dir, "copy")
			m := sparseStore(t, c.fsys, src)
			log := oplog.New(c.fsys, oplog.Options{Root: c.dir, Reads: true})
			report, err := image.Backup(ctx, src, dst, &image.Options{FS: copying(log)}, nil)
			if err != nil || report.Shared || report.Bytes != 4096*16384 {
				t.Fatalf("%+v, %v", report, err)
			}
			var read, written int64
			for _, op := range log.Ops() {
				switch {
				case op.Kind == vfs.Read && op.Name == "store/image.bin":
					read += op.Done
				case op.Kind == vfs.Write && filepath.Base(op.Name) == "image.bin":
					written += op.Done
				}
			}
			if want := int64(len(sparsePages)) * 16384; read != want || written != want {
				t.Errorf("%d bytes of the image read, %d written, want %d", read, written, want)
			}
			f, err := c.fsys.OpenFile(filepath.Join(dst, "image.bin"), os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if length, allocated, err := f.Size(); err != nil || length != 4096*16384 || allocated > 1<<20 {
				t.Errorf("the copy is %d bytes long and takes %d, %v", length, allocated, err)
			}
			s, _, err := image.Open(ctx, dst, &image.Options{FS: c.fsys, Full: true})
			if err != nil {
				t.Fatal(err)
			}
			checkHolds(t, s, m, 0)
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// defects are what Verify says of /store.
func defects(t *testing.T, fsys vfs.FS) (found []*patch.Defect) {
	t.Helper()
	if _, err := image.Verify(context.Background(), "/store", &image.Options{FS: fsys}, func(d *patch.Defect) { found = append(found, d) }, nil); err != nil {
		t.Fatal(err)
	}
	return found
}

// A hole is no proof: where the table says that there was something, it is
// reported.
func TestVerifySeesWhatBecameAHole(t *testing.T) {
	m := memfs.New()
	sparseStore(t, m, "/store")
	f, err := m.OpenFile("/store/image.bin", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(2000*16384), f.Truncate(4096*16384), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	if got := defects(t, m); len(got) != 2 || got[0].Page != 2000 || got[1].Page != 4095 {
		t.Errorf("defects: %v", got)
	}
}
