package image_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"loomstore/image"
	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
	"loomstore/patch"
)

// testUUID names every store of these tests, so that their bytes repeat.
func testUUID() patch.UUID { return patch.UUID{0: 0x10, 15: 0x0f} }

// deterministic are options under which operations have one order.
func deterministic(fsys vfs.FS, pageSize int) *image.Options {
	return &image.Options{FS: fsys, Create: true, Geometry: patch.Geometry{PageSize: pageSize}, Workers: 1, NewUUID: testUUID}
}

// copying is a file system that can not share blocks.
func copying(fsys vfs.FS) vfs.FS {
	return errorfs.New(fsys, refuse{})
}

type refuse struct{}

func (refuse) Inject(op errorfs.Op) *errorfs.Fault {
	if op.Kind == vfs.Clone || op.Kind == vfs.Share {
		return &errorfs.Fault{Err: errors.ErrUnsupported}
	}
	return nil
}

// The operations of the protocol, one file an act: what stands in testdata is
// what reaches the disk, and the order in which.
func TestGoldenOperations(t *testing.T) {
	ctx := context.Background()
	mem := memfs.New()
	fsys := oplog.New(mem, oplog.Options{Root: "/store"})
	o := deterministic(fsys, 16384)
	golden := func(name string) {
		t.Helper()
		oplog.Golden(t, filepath.Join("testdata", name+".log"), fsys.String())
		fsys.Reset()
	}
	open := func() *image.Store {
		t.Helper()
		s, _, err := image.Open(ctx, "/store", o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	golden("creation")
	m := model{size: 16384}
	act := func(name string, epoch uint64, st step) {
		t.Helper()
		if err := checkpoint(s, m.take(epoch, st)); err != nil {
			t.Fatal(err)
		}
		golden(name)
	}
	act("checkpoint-first", 1, step{4, []int{0, 1, 3}})
	act("checkpoint", 2, step{4, []int{2}})
	act("checkpoint-grow", 3, step{6, []int{0, 5}})
	act("checkpoint-shrink", 4, step{3, []int{1}})
	act("checkpoint-empty", 5, step{3, nil})
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	golden("close")
	s = open()
	golden("open-clean")
	staged, err := s.Stage(ctx, m.take(6, step{4, []int{0, 3}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(staged); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	fsys.Reset()
	s = open()
	golden("recovery")
	checkHolds(t, s, m, 6)
	fsys.Reset()
	// The name of the temporary directory holds the process id.
	if _, err := image.Backup(ctx, "/store", "/copy", deterministic(copying(fsys), 16384), nil); err != nil {
		t.Fatal(err)
	}
	oplog.Golden(t, filepath.Join("testdata", "backup.log"), stripPID(fsys.String()))
	fsys.Reset()
	if _, err := image.Backup(ctx, "/store", "/shared", o, nil); err != nil {
		t.Fatal(err)
	}
	oplog.Golden(t, filepath.Join("testdata", "backup-reflink.log"), stripPID(fsys.String()))
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// Long runs of neighbours are shared with the body, what is between them is
// copied; where blocks can not be shared, that is tried once.
func TestGoldenShared(t *testing.T) {
	for name, over := range waysToCopy {
		mem := memfs.New()
		fsys := oplog.New(mem, oplog.Options{Root: "/store"})
		o := deterministic(over(struct {
			vfs.FS
			vfs.Freer
		}{fsys, mem}), 16384)
		o.ShareRun = 2
		s, _, err := image.Open(context.Background(), "/store", o)
		if err != nil {
			t.Fatal(err)
		}
		m := model{size: 16384}
		if err := checkpoint(s, m.take(1, step{9, []int{0, 2, 3, 4, 6, 7, 8}})); err != nil {
			t.Fatal(err)
		}
		fsys.Reset()
		if err := checkpoint(s, m.take(2, step{9, []int{0, 1, 3, 5, 7, 8}})); err != nil {
			t.Fatal(err)
		}
		oplog.Golden(t, filepath.Join("testdata", "checkpoint-"+name+".log"), fsys.String())
		checkHolds(t, s, m, 2)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoldenImport(t *testing.T) {
	ctx := context.Background()
	mem := memfs.New()
	veresDirectory(t, mem)
	fsys := oplog.New(mem, oplog.Options{Root: "/store"})
	s, report, err := image.Open(ctx, "/store", deterministic(fsys, 16384))
	if err != nil {
		t.Fatal(err)
	}
	if report.Action != image.ActionImported || report.Pages != 3 || report.PatchPages != 2 {
		t.Fatalf("%+v", report)
	}
	oplog.Golden(t, filepath.Join("testdata", "import.log"), fsys.String())
	checkHolds(t, s, model{size: 16384, pages: []uint64{1, 2, 2}}, 0)
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// veresDirectory makes what vere leaves when it is killed behind its commit
// point: two pages of epoch 1, and a patch of epoch 2 for pages 1 and 2.
func veresDirectory(t *testing.T, fsys vfs.FS) {
	t.Helper()
	const size = 16384
	le := binary.LittleEndian
	control := le.AppendUint32(nil, 2)
	control = le.AppendUint32(control, 0)
	control = le.AppendUint32(control, 3)
	control = le.AppendUint32(control, 2)
	var memory []byte
	for _, p := range []int{1, 2} {
		page := fill(size, 2, p)
		control = le.AppendUint32(control, uint32(p))
		control = le.AppendUint32(control, checksum.Sum32(page))
		memory = append(memory, page...)
	}
	le.PutUint32(control[4:], checksum.Sum32(control[8:]))
	if err := fsys.Mkdir("/store", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "/store/image.bin", append(fill(size, 1, 0), fill(size, 1, 1)...))
	put(t, fsys, "/store/control.bin", control)
	put(t, fsys, "/store/memory.bin", memory)
}

func put(t *testing.T, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
