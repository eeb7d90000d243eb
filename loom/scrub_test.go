package loom_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"loomstore/loom"
	"loomstore/patch"
)

// A page that rots in image.bin while the program runs is told of by the event
// and counted; a Close ends the rounds.
func TestScrubFindsDamage(t *testing.T) {
	dir := t.TempDir()
	found := make(chan loom.Event, 1)
	l := open(t, dir, &loom.Options{ScrubEvery: time.Microsecond, Events: func(e loom.Event) {
		if e.Kind == loom.Damaged {
			select {
			case found <- e:
			default:
			}
		}
	}})
	for p := range 200 {
		l.Bytes()[p*page] = byte(p) + 1
	}
	save(t, l)
	if err := l.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for from := l.Metrics().ScrubRounds; l.Metrics().ScrubRounds < from+2; {
		save(t, l) // rounds go on beside checkpoints
	}
	if m := l.Metrics(); m.ScrubDamaged != 0 || m.ScrubPages < 200 {
		t.Fatalf("before the damage: %+v", m)
	}
	rot(t, filepath.Join(dir, "image.bin"), 150*page+1000)
	e := <-found
	d, ok := errors.AsType[*patch.Defect](e.Err)
	if !ok || !errors.Is(e.Err, loom.ErrDamaged) || d.Page != 150 || d.File != "image.bin" {
		t.Fatalf("found %v", e.Err)
	}
	if m := l.Metrics(); m.ScrubDamaged == 0 {
		t.Fatalf("not counted: %+v", m)
	}
	// The private copy is older than the damage: saved again, it is whole.
	l.Bytes()[150*page+1000] = 0
	save(t, l)
	shut(t, l)
	l = open(t, dir, &loom.Options{}) // verifies every page
	shut(t, l)
}

func rot(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := []byte{0}
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestScrubOption(t *testing.T) {
	if _, err := loom.Open(t.TempDir(), &loom.Options{ScrubEvery: -1}); !errors.Is(err, loom.ErrOptions) {
		t.Fatalf("a negative time: %v", err)
	}
}
