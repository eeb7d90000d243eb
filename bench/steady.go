package main

import (
	"errors"
	"fmt"
	"time"

	"loomstore/bench/peer"
)

// steadySuites measure commits one behind the other: whatever a store puts
// off, it has to do here, as nobody waits for it.
func steadySuites() []suite {
	var list []suite
	for _, d := range []int{1, 16, 256} {
		const commits = 20
		list = append(list, suite{
			name:  fmt.Sprintf("steady-%d", d),
			title: fmt.Sprintf("%d commits of %d random pages of 16384 each, one behind the other", commits, d),
			note:  "A commit's share of the time until the last one is durable and work behind the commits is done.",
			unit:  "ms", floor: "floor", columns: []string{"each"},
			open: func(w *world) (*bench, error) { return openSteady(w, min(d, w.pages), commits) },
		})
	}
	return list
}

func openSteady(w *world, d, commits int) (_ *bench, err error) {
	b := new(bench)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shut())
		}
	}()
	var dirty [][]int
	b.round = func() {
		dirty = nil
		for range commits {
			dirty = append(dirty, w.pick(d))
		}
	}
	each := func(n int, f func(i int) error, end func() error) (map[string]float64, error) {
		start := time.Now()
		for i := range n {
			if err := f(i); err != nil {
				return nil, err
			}
		}
		if err := end(); err != nil {
			return nil, err
		}
		return map[string]float64{"each": since(start) / float64(n)}, nil
	}
	for _, k := range contenders() {
		s, err := w.full(k, b)
		if err != nil {
			return nil, err
		}
		b.cells = append(b.cells, cell{row: k.Name, run: func() (map[string]float64, error) {
			return each(howMany(k, commits), func(i int) error {
				w.touch(s, dirty[i])
				return w.commit(s, dirty[i])
			}, func() error { return settle(s) })
		}})
	}
	name := func(i int) string { return w.path(fmt.Sprintf("floor.%d.tmp", i)) }
	clear := func() error {
		for i := range commits {
			if err := remove(name(i)); err != nil {
				return err
			}
		}
		return nil
	}
	b.defers(clear)
	b.cells = append(b.cells, cell{row: "floor", before: clear, run: func() (map[string]float64, error) {
		return each(commits, func(i int) error { return writeOnce(name(i), w.program(), dirty[i]) }, func() error { return nil })
	}})
	return b, nil
}

// howMany is the number of commits to measure: a heap that is written whole each
// time needs few.
func howMany(k peer.Kind, commits int) int {
	if k.Name == "heap-file" {
		return 2
	}
	return commits
}
