package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// suite is one table: rows that are measured in the same run, in shuffled
// order, and compared with the row called floor.
type suite struct {
	name    string
	title   string
	note    string // how to read it
	unit    string
	floor   string
	columns []string
	open    func(*world) (*bench, error)
}

// bench is a suite that is ready to be measured.
type bench struct {
	cells []cell
	round func() // before the cells of each round; may be nil
	close []func() error
}

// cell measures one row.
type cell struct {
	row    string
	before func() error // not measured; may be nil
	// run returns a value for each column that it measures.
	run   func() (map[string]float64, error)
	after func() error // not measured; may be nil
}

func (b *bench) defers(f func() error) { b.close = append(b.close, f) }

func (b *bench) shut() error {
	var errs []error
	for _, f := range slices.Backward(b.close) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// world is what suites have in common.
type world struct {
	dir    string
	pages  int // of each store
	rounds int
	short  bool
	rng    *rand.Rand
	heap   []byte // the program's memory, for stores that are not it themselves
}

func newWorld(dir string, pages, rounds int, short bool, seed uint64) *world {
	return &world{dir: dir, pages: pages, rounds: rounds, short: short, rng: rand.New(rand.NewPCG(seed, 1))}
}

// path returns the name of a file of the world's directory.
func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// sync empties the system's cache of what it has yet to write to the file
// system of the stores. Others may be stuck, which is nothing to wait for.
func (w *world) sync() error {
	dir, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

// warm reads all stores into the system's cache, which may have been taken by
// others since they were filled: a peer that has to read a page before it
// changes it would be measured with the disk's reads.
func (w *world) warm() error {
	return filepath.WalkDir(w.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a store in the background has removed it
		} else if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	})
}

// pick returns n random pages, ascending.
func (w *world) pick(n int) []int {
	p := w.rng.Perm(w.pages)[:n]
	slices.Sort(p)
	return p
}

// measure runs the suite: rounds times every cell, in an order that is
// shuffled anew each time, files synced before each.
func (w *world) measure(s suite) (_ *result, err error) {
	began := time.Now()
	b, err := s.open(w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	defer func() { err = errors.Join(err, b.shut()) }()
	if err := w.warm(); err != nil {
		return nil, err
	}
	var order []string
	samples := map[string]map[string][]float64{}
	for range w.rounds {
		if b.round != nil {
			b.round()
		}
		for _, i := range w.rng.Perm(len(b.cells)) {
			values, err := b.cells[i].measure(w)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", s.name, b.cells[i].row, err)
			}
			row := b.cells[i].row
			if samples[row] == nil {
				samples[row] = map[string][]float64{}
			}
			for column, v := range values {
				samples[row][column] = append(samples[row][column], v)
			}
		}
	}
	for _, c := range b.cells {
		if !slices.Contains(order, c.row) {
			order = append(order, c.row)
		}
	}
	return s.result(w, order, samples, time.Since(began)), nil
}

func (c cell) measure(w *world) (map[string]float64, error) {
	if c.before != nil {
		if err := c.before(); err != nil {
			return nil, err
		}
	}
	if err := w.sync(); err != nil {
		return nil, err
	}
	values, err := c.run()
	if err != nil || c.after == nil {
		return values, err
	}
	return values, c.after()
}

// since is how long ago that was, in milliseconds.
func since(start time.Time) float64 { return float64(time.Since(start)) / 1e6 }

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	if len(x) == 0 {
		return 0
	}
	return x[len(x)/2]
}
