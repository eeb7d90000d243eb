package loom_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/internal/aiodtest"
	"loomstore/loom"
)

// A disk that is really full: the checkpoint fails cleanly, the program goes
// on, space comes back, and the next checkpoint saves everything. The same over
// injected errors, which needs no root, is TestFullDiskIsRetryable.
func TestRealFullDisk(t *testing.T) {
	t.Run("direct", func(t *testing.T) { realFullDisk(t, &loom.Options{}) })
	t.Run("aiod", func(t *testing.T) {
		realFullDisk(t, &loom.Options{IO: aiodfs.New(aiodtest.Start(t, aiod.Options{}))})
	})
}

func realFullDisk(t *testing.T, o *loom.Options) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("not run on a real full disk: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "store")
	l := open(t, dir, o)
	l.Bytes()[0] = 1
	save(t, l)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for p := range 100 {
		l.Bytes()[p*page] = 2
	}
	for range 3 {
		_, err := l.Checkpoint(ctx)
		var full *loom.NoSpaceError
		if !errors.Is(err, loom.ErrNoSpace) || !errors.As(err, &full) || full.Need <= 0 || full.Available < 0 || full.Available >= full.Need {
			t.Fatalf("got %v", err)
		}
		l.Bytes()[99*page]++ // the program goes on
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if c := save(t, l); c.Epoch != 2 || c.Pages != 100 {
		t.Fatalf("saved %+v", c)
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if l.Bytes()[0] != 2 || l.Bytes()[99*page] != 5 {
		t.Fatalf("holds %d and %d", l.Bytes()[0], l.Bytes()[99*page])
	}
	shut(t, l)
}
