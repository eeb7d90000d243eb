package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"loomstore/bench/peer"
)

// contenders are the kinds whose commits survive a power cut.
func contenders() []peer.Kind {
	var list []peer.Kind
	for _, k := range peer.All() {
		if !k.Weaker {
			list = append(list, k)
		}
	}
	return list
}

// peers are those of contenders that are not ours with a tracker of choice.
func peers() []peer.Kind {
	var list []peer.Kind
	for _, k := range contenders() {
		if k.Name != "loom-uffd" && k.Name != "loom-mprotect" && k.Name != "loom-cow" {
			list = append(list, k)
		}
	}
	return list
}

var dirtySizes = []int{1, 16, 256, 4096, 16384}

func durableSuites() []suite {
	var list []suite
	for _, d := range dirtySizes {
		list = append(list, suite{
			name:  fmt.Sprintf("durable-%d", d),
			title: fmt.Sprintf("Make %d of 16384 pages durable", d),
			note: "commit: until the commit is durable. settled: until work behind the commit is done as well. " +
				"A word in each 4 KiB of a page has changed. The floor is the same pages written once to a new file and one fdatasync. loom+stores begins the clock before the program's stores.",
			unit: "ms", floor: "floor", columns: []string{"commit", "settled"},
			open: func(w *world) (*bench, error) { return openDurable(w, min(d, w.pages)) },
		})
	}
	return list
}

func openDurable(w *world, d int) (_ *bench, err error) {
	b := new(bench)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shut())
		}
	}()
	var dirty []int
	b.round = func() { dirty = w.pick(d) }
	for _, k := range contenders() {
		s, err := w.full(k, b)
		if err != nil {
			return nil, err
		}
		b.cells = append(b.cells, commitCell(w, k.Name, s, &dirty, false))
		if k.Name == "loom" {
			b.cells = append(b.cells, commitCell(w, "loom+stores", s, &dirty, true))
		}
	}
	b.cells = append(b.cells, cell{row: "floor",
		before: func() error { return remove(w.path("floor.tmp")) },
		run: func() (map[string]float64, error) {
			start := time.Now()
			if err := writeOnce(w.path("floor.tmp"), w.program(), dirty); err != nil {
				return nil, err
			}
			took := since(start)
			return map[string]float64{"commit": took, "settled": took}, nil
		}})
	return b, nil
}

// commitCell stores a word to each dirty page and makes that durable.
func commitCell(w *world, name string, s peer.Store, dirty *[]int, stores bool) cell {
	return cell{row: name,
		before: func() error {
			if !stores {
				w.touch(s, *dirty)
			}
			return nil
		},
		run: func() (map[string]float64, error) {
			start := time.Now()
			if stores {
				w.touch(s, *dirty)
			}
			if err := w.commit(s, *dirty); err != nil {
				return nil, err
			}
			committed := since(start)
			if err := settle(s); err != nil {
				return nil, err
			}
			return map[string]float64{"commit": committed, "settled": since(start)}, nil
		}}
}

// commit saves the program's memory, of which dirty has changed.
func (w *world) commit(s peer.Store, dirty []int) error {
	if mem, ok := s.(peer.Memory); ok {
		return mem.Save()
	}
	return s.Commit(w.pages, dirty, func(p int) []byte { return page(w.program(), p) })
}

func settle(s peer.Store) error {
	if s, ok := s.(peer.Settler); ok {
		return s.Settle()
	}
	return nil
}

// full opens the store of kind k that has all pages, making it if there is
// none, with every page of a Memory stored to. b closes it.
func (w *world) full(k peer.Kind, b *bench) (peer.Store, error) {
	s, err := w.filled(k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	b.defers(s.Close)
	if _, ok := s.(peer.Memory); ok {
		// As in a program that has run for long: every page was stored to.
		all := rangeOf(w.pages)
		w.touch(s, all)
		if err := errors.Join(w.commit(s, all), settle(s)); err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
	}
	return s, nil
}

func (w *world) filled(k peer.Kind) (peer.Store, error) {
	dir := w.path(k.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := k.Open(dir, w.pages)
	if err != nil || s.Pages() == w.pages {
		return s, err
	}
	if err := s.Commit(w.pages, rangeOf(w.pages), func(p int) []byte { return page(w.program(), p) }); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, settle(s)
}

// program returns the program's memory: random, so that nobody compresses it.
func (w *world) program() []byte {
	if w.heap == nil {
		w.heap = make([]byte, w.pages*peer.PageSize)
		for off := 0; off < len(w.heap); off += 8 {
			putWord(w.heap[off:], w.rng.Uint64())
		}
	}
	return w.heap
}

// touch is the program's own work: it changes a word in each 4 KiB
// of the pages, so that no store can save less than all of them.
func (w *world) touch(s peer.Store, pages []int) {
	var mem []byte
	if m, ok := s.(peer.Memory); ok {
		mem = m.Bytes()
	} else {
		mem = w.program()
	}
	v := w.rng.Uint64()
	for _, p := range pages {
		for off := 64; off < peer.PageSize; off += 4096 {
			putWord(mem[p*peer.PageSize+off:], v)
		}
	}
}

func page(mem []byte, p int) []byte { return mem[p*peer.PageSize : (p+1)*peer.PageSize] }

// writeOnce is the floor of all that is durable: the pages, once, to a new
// file, and one sync.
func writeOnce(name string, mem []byte, pages []int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, 1<<20)
	for i, p := range pages {
		buf = append(buf, page(mem, p)...)
		if len(buf) == cap(buf) || i == len(pages)-1 {
			if _, err := f.Write(buf); err != nil {
				return errors.Join(err, f.Close())
			}
			buf = buf[:0]
		}
	}
	return errors.Join(fdatasync(f), f.Close())
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
