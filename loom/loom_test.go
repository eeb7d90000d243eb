package loom_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/fault"
	"loomstore/image"
	"loomstore/internal/aiodtest"
	"loomstore/internal/mapping"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/loom"
)

const size = 64 << 20

// modes are the ways to open an arena; every test that can runs in all.
func modes(t *testing.T) map[string]func() *loom.Options {
	limbo := filepath.Join(t.TempDir(), "limbo.bin")
	daemon := func() loom.IO { return aiodfs.New(aiodtest.Start(t, aiod.Options{})) }
	return map[string]func() *loom.Options{
		"auto":               func() *loom.Options { return &loom.Options{} },
		"uffd":               func() *loom.Options { return &loom.Options{Tracker: fault.Uffd} },
		"uffd/resident":      func() *loom.Options { return &loom.Options{Tracker: fault.Uffd, Resident: true} },
		"uffd/ephemeral":     func() *loom.Options { return &loom.Options{Tracker: fault.Uffd, Ephemeral: limbo} },
		"mprotect":           func() *loom.Options { return &loom.Options{Tracker: fault.Mprotect} },
		"cow":                func() *loom.Options { return &loom.Options{Tracker: fault.Cow} },
		"compare":            func() *loom.Options { return &loom.Options{Tracker: fault.Compare} },
		"mprotect/resident":  func() *loom.Options { return &loom.Options{Tracker: fault.Mprotect, Resident: true} },
		"cow/resident":       func() *loom.Options { return &loom.Options{Tracker: fault.Cow, Resident: true} },
		"mprotect/ephemeral": func() *loom.Options { return &loom.Options{Tracker: fault.Mprotect, Ephemeral: limbo} },
		"compare/ephemeral":  func() *loom.Options { return &loom.Options{Tracker: fault.Compare, Ephemeral: limbo} },
		"guard":              func() *loom.Options { return &loom.Options{Tracker: fault.Cow, Guard: true} },
		"uffd/guard":         func() *loom.Options { return &loom.Options{Tracker: fault.Uffd, Guard: true} },
		"aiod":               func() *loom.Options { return &loom.Options{IO: daemon()} },
		"aiod/resident":      func() *loom.Options { return &loom.Options{IO: daemon(), Tracker: fault.Cow, Resident: true} },
		"aiod/ephemeral":     func() *loom.Options { return &loom.Options{IO: daemon(), Tracker: fault.Mprotect, Ephemeral: limbo} },
	}
}

// failing lets operations below o fail.
func failing(o *loom.Options, in errorfs.Injector) {
	var below loom.FS = vfs.OS
	if o.IO != nil {
		below, o.IO = o.IO, nil
	}
	o.FS = errorfs.New(below, in)
}

func open(t *testing.T, dir string, o *loom.Options) *loom.Loom {
	t.Helper()
	o.Size = size
	o.VerifyFull = true
	l, err := loom.Open(dir, o)
	if (o.Tracker == fault.Uffd || mapping.OnHeap) && errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("not run here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func shut(t *testing.T, l *loom.Loom) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, l *loom.Loom) loom.Checkpoint {
	t.Helper()
	c, err := l.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// scribble stores random words at random places below low, and returns the
// bytes that are live afterwards.
func scribble(l *loom.Loom, r *rand.Rand, low, stores int) []byte {
	mem := l.Bytes()
	for range stores {
		off := r.IntN(low/8) * 8
		binary.LittleEndian.PutUint64(mem[off:], r.Uint64())
	}
	return bytes.Clone(mem[:low])
}

func TestCheckpointReopenRollback(t *testing.T) {
	for name, o := range modes(t) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(name))))
			dir := t.TempDir()
			var live []byte
			for round := range 2 {
				l := open(t, dir, o())
				if !bytes.Equal(l.Bytes()[:len(live)], live) {
					t.Fatalf("round %d: reopened with other bytes", round)
				}
				lows := []int{40, 300, 120, 500, 501, 90}
				for i, pages := range lows {
					low := pages*loom.PageSize - 100*i
					if err := l.SetWatermarks(int64(low), size); err != nil {
						t.Fatal(err)
					}
					live = scribble(l, r, low, 50)
					c := save(t, l)
					if c.Epoch != uint64(round*len(lows)+i+1) {
						t.Fatalf("epoch %d", c.Epoch)
					}
					scribble(l, r, low, 50)
					free := pages*loom.PageSize + 1<<20
					l.Bytes()[free] = 1
					if err := l.Rollback(); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(l.Bytes()[:low], live) {
						t.Fatalf("round %d, checkpoint %d: rolled back to other bytes", round, i)
					}
					if l.Bytes()[free] != 0 {
						t.Fatal("memory above the image is not zero")
					}
				}
				shut(t, l)
			}
		})
	}
}

func TestUnsetWatermarkFollowsStores(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	l.Bytes()[5*loom.PageSize+7] = 1
	if c := save(t, l); c.Low != 6*loom.PageSize || c.Pages != 1 {
		t.Fatalf("saved %+v", c)
	}
	if c := save(t, l); c.Pages != 0 || c.Epoch != 2 {
		t.Fatalf("saved %+v", c)
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if l.Bytes()[5*loom.PageSize+7] != 1 || l.Report().Action != image.ActionNone {
		t.Fatalf("reopened: %+v", l.Report())
	}
	shut(t, l)
}

func TestAsync(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	l := open(t, dir, &loom.Options{})
	r := rand.New(rand.NewPCG(3, 4))
	var live []byte
	for range 20 {
		live = scribble(l, r, 200*loom.PageSize, 300)
		p, err := l.CheckpointAsync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		scribble(l, r, 200*loom.PageSize, 300) // must not be part of it
		if err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Rollback(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(l.Bytes()[:len(live)], live) {
		t.Fatal("stores after the capture became part of the checkpoint")
	}
	shut(t, l)
}

// Without descriptors to map, the arena is resident and works the same.
func TestOnMemoryFileSystem(t *testing.T) {
	fsys := memfs.New()
	for round := range 3 {
		l := open(t, "/store", &loom.Options{FS: fsys})
		if got := l.Bytes()[3*loom.PageSize]; got != byte(round) {
			t.Fatalf("byte is %d, want %d", got, round)
		}
		l.Bytes()[3*loom.PageSize]++
		save(t, l)
		shut(t, l)
	}
}

func TestSecondOpenerIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	if _, err := loom.Open(dir, nil); !errors.Is(err, loom.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	shut(t, l)
}
