package loom_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"loomstore/fault"
	"loomstore/internal/mapping"
	"loomstore/loom"
)

func TestDoPassesOtherPanicsOn(t *testing.T) {
	l := open(t, t.TempDir(), &loom.Options{})
	defer shut(t, l)
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = l.Do(func() error { panic("mine") })
}

// An image cut short under a live store makes its pages unreadable.
func TestDoReportsUnreadablePages(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	for p := range 20 {
		l.Bytes()[p*page] = 1
	}
	save(t, l)
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if err := os.Truncate(filepath.Join(dir, "image.bin"), 10*page); err != nil {
		t.Fatal(err)
	}
	var sum byte
	err := l.Do(func() error { sum += l.Bytes()[15*page]; return nil })
	var pe *loom.PageError
	if !errors.Is(err, loom.ErrPage) || !errors.As(err, &pe) || pe.Page != 15 {
		t.Fatalf("got %v (%d)", err, sum)
	}
	if err := os.Truncate(filepath.Join(dir, "image.bin"), 20*page); err != nil {
		t.Fatal(err)
	}
	shut(t, l)
}

// TestCheckpointOfUnreadablePages: a page of which a quarter was stored to is
// read from the image in its other quarters. If that fails, so does the
// checkpoint, not the process.
func TestCheckpointOfUnreadablePages(t *testing.T) {
	if mapping.OnHeap {
		t.Skip("nothing is mapped")
	}
	for _, kind := range []fault.Kind{fault.Uffd, fault.Mprotect, fault.Cow} {
		for name, checkpoint := range map[string]func(l *loom.Loom) error{
			"Checkpoint":      func(l *loom.Loom) error { _, err := l.Checkpoint(ctx); return err },
			"CheckpointAsync": func(l *loom.Loom) error { _, err := l.CheckpointAsync(ctx); return err },
		} {
			for _, validate := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/validate=%v", kind, name, validate), func(t *testing.T) {
					dir := t.TempDir()
					l := open(t, dir, &loom.Options{})
					for p := range 20 {
						l.Bytes()[p*page+page-1] = 1
					}
					save(t, l)
					shut(t, l)
					whole, err := os.ReadFile(filepath.Join(dir, "image.bin"))
					if err != nil {
						t.Fatal(err)
					}
					l = open(t, dir, &loom.Options{Tracker: kind, Validate: validate})
					l.Bytes()[10*page] = 2
					if err := os.Truncate(filepath.Join(dir, "image.bin"), 10*page+4096); err != nil {
						t.Fatal(err)
					}
					if err := checkpoint(l); !errors.Is(err, loom.ErrPage) {
						t.Errorf("got %v", err)
					}
					f, err := os.OpenFile(filepath.Join(dir, "image.bin"), os.O_WRONLY, 0)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := f.WriteAt(whole, 0); err != nil {
						t.Fatal(err)
					}
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
					if c := save(t, l); c.Pages != 1 || l.Bytes()[10*page] != 2 || l.Bytes()[10*page+page-1] != 1 {
						t.Errorf("%+v behind the error", c)
					}
					shut(t, l)
				})
			}
		}
	}
}
