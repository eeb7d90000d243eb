package main

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"loomstore/bench/peer"
)

// files is what a store's directory holds, by name.
type files map[string][]byte

func read(dir string) (files, error) {
	all := files{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		all[rel], err = os.ReadFile(name)
		return err
	})
	return all, err
}

// write makes dir hold the files, and nothing else.
func (f files) write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, b := range f {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f files) names() []string { return slices.Sorted(maps.Keys(f)) }

// with returns f with other content in one file; nil removes it.
func (f files) with(name string, b []byte) files {
	c := maps.Clone(f)
	if b == nil {
		delete(c, name)
	} else {
		c[name] = b
	}
	return c
}

// pick returns a file and an offset in it, every byte of all files equally
// likely.
func (f files) pick(rng *rand.Rand) (name string, off int) {
	total := 0
	for _, b := range f {
		total += len(b)
	}
	off = rng.IntN(total)
	for _, name := range f.names() {
		if off < len(f[name]) {
			return name, off
		}
		off -= len(f[name])
	}
	panic("unreachable: off is below the total")
}

// damage is a damaged store, and what was done to it.
type damage struct {
	what string
	files
}

func flipped(rng *rand.Rand, f files) damage {
	name, off := f.pick(rng)
	b := slices.Clone(f[name])
	b[off] ^= 1 << rng.IntN(8)
	return damage{fmt.Sprintf("%s, byte %d flipped", name, off), f.with(name, b)}
}

// moved exchanges two blocks of a file, or puts an older one in its place.
// Blocks have the size of our pages or of the peers'.
func moved(rng *rand.Rand, old, now files) damage {
	size := 4096
	if rng.IntN(2) == 0 {
		size = peer.PageSize
	}
	name, off := now.pick(rng)
	b := slices.Clone(now[name])
	off -= off % size
	end := min(off+size, len(b))
	if rng.IntN(2) == 0 {
		if off < len(old[name]) {
			copy(b[off:end], old[name][off:])
		}
		return damage{fmt.Sprintf("%s, %d bytes at %d put back", name, end-off, off), now.with(name, b)}
	}
	second := rng.IntN(len(b))
	second -= second % size
	n := min(end-off, len(b)-second)
	for i := range n {
		b[off+i], b[second+i] = now[name][second+i], now[name][off+i]
	}
	return damage{fmt.Sprintf("%s, %d bytes at %d and %d exchanged", name, n, off, second), now.with(name, b)}
}

// structural is files cut, removed, and exchanged.
func structural(rng *rand.Rand, old, now, other files) []damage {
	var list []damage
	for _, name := range now.names() {
		list = append(list, damage{name + " removed", now.with(name, nil)}, damage{name + " emptied", now.with(name, []byte{})})
		if b, ok := old[name]; ok {
			list = append(list, damage{name + " put back", now.with(name, b)})
		}
		if b, ok := other[name]; ok {
			list = append(list, damage{name + " of another store", now.with(name, b)})
		}
		if size := len(now[name]); size > 0 {
			for range 20 {
				n := rng.IntN(size)
				list = append(list, damage{fmt.Sprintf("%s cut to %d of %d", name, n, size), now.with(name, now[name][:n])})
			}
		}
	}
	return list
}
