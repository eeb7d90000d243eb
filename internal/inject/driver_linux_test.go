package inject

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"loomstore/internal/vfs"
	"loomstore/loom"
)

// drive is a program that keeps its state in a store. Behind each act it writes
// the act's name, so that the trace can be cut there.
func drive(act, dir, broken string) error {
	o := &loom.Options{Size: 1 << 20}
	if broken == "sync" {
		o.FS = forgetful{vfs.OS}
	}
	l, err := loom.Open(dir, o)
	if err != nil {
		return err
	}
	if act == "recovery" {
		mark("recovery")
		return l.Close()
	}
	mark("creation")
	for i, s := range []struct {
		name  string
		pages int
		dirty []int
	}{
		{"checkpoint-first", 4, []int{0, 1, 3}},
		{"checkpoint", 4, []int{2}},
		{"checkpoint-grow", 6, []int{0, 5}},
		{"checkpoint-shrink", 3, []int{1}},
		{"checkpoint-empty", 3, nil},
	} {
		if err := l.SetWatermarks(int64(s.pages*loom.PageSize), 1<<20); err != nil {
			return err
		}
		for _, p := range s.dirty {
			l.Bytes()[p*loom.PageSize+i] = byte(1 + i)
		}
		if _, err := l.Checkpoint(context.Background()); err != nil {
			return err
		}
		if err := l.Wait(context.Background()); err != nil {
			return err
		}
		if broken == "bypass" && s.name == "checkpoint" {
			if err := scribble(filepath.Join(dir, "image.bin")); err != nil {
				return err
			}
		}
		mark(s.name)
	}
	if err := l.Close(); err != nil {
		return err
	}
	mark("close")
	if _, err = loom.Open(dir, o); err != nil {
		return err
	}
	mark("open-clean")
	return nil
}

func mark(act string) { fmt.Println("mark " + act) }

// scribble writes a durable file past internal/vfs.
func scribble(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{1}, 0)
	return err
}

// forgetful does not sync memory.bin.
type forgetful struct{ vfs.FS }

func (f forgetful) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, "memory.bin") {
		return unsynced{file}, nil
	}
	return file, err
}

type unsynced struct{ vfs.File }

func (unsynced) Sync() error { return nil }
