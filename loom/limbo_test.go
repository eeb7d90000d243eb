package loom_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"loomstore/internal/mapping"
	"loomstore/loom"
)

// A scratch file is emptied and removed: none that is somebody's may be taken.
func TestEphemeralTakesNothingOfValue(t *testing.T) {
	if mapping.OnHeap {
		t.Skip("nothing is mapped")
	}
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	l.Bytes()[0] = 1
	save(t, l)
	shut(t, l)
	for _, name := range []string{"image.bin", "memory.bin", "control.bin", "sums.bin", "lock"} {
		if _, err := loom.Open(dir, &loom.Options{Size: size, Ephemeral: filepath.Join(dir, name)}); !errors.Is(err, loom.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	limbo := filepath.Join(t.TempDir(), "limbo")
	if err := os.WriteFile(limbo, []byte("left by a killed process"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, &loom.Options{Ephemeral: limbo})
	l.Bytes()[page] = 2
	if _, err := loom.Open(t.TempDir(), &loom.Options{Size: size, Ephemeral: limbo}); !errors.Is(err, loom.ErrLocked) {
		t.Errorf("another arena in the same file: %v", err)
	}
	if l.Bytes()[0] != 1 || l.Bytes()[page] != 2 {
		t.Errorf("memory holds %d and %d", l.Bytes()[0], l.Bytes()[page])
	}
	save(t, l)
	shut(t, l)
	if _, err := os.Stat(limbo); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the scratch file is left: %v", err)
	}
}

// The names of Options are those of the moment of Open.
func TestEphemeralBehindChdir(t *testing.T) {
	if mapping.OnHeap {
		t.Skip("nothing is mapped")
	}
	before, after := t.TempDir(), t.TempDir()
	t.Chdir(before)
	l := open(t, "store", &loom.Options{Ephemeral: "limbo"})
	t.Chdir(after)
	if err := os.WriteFile("limbo", []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Bytes()[page] = 2
	save(t, l)
	shut(t, l)
	if _, err := os.Stat(filepath.Join(before, "limbo")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the scratch file is left: %v", err)
	}
	if _, err := os.Stat("limbo"); err != nil {
		t.Error(err)
	}
	// Whoever has removed it already has saved Close the work.
	l = open(t, filepath.Join(before, "store"), &loom.Options{Ephemeral: filepath.Join(before, "limbo")})
	if err := os.Remove(filepath.Join(before, "limbo")); err != nil {
		t.Fatal(err)
	}
	shut(t, l)
}
