package crash

import (
	"fmt"
	"math/rand/v2"

	"loomstore/internal/vfs"
)

// history is the checkpoints of the main workload: growth with holes, a page
// changed twice, an empty one, a shrink, growth over what was cut off.
var history = []change{
	{4, []int{0, 1, 3}},
	{4, []int{2}},
	{7, []int{0, 5}},
	{7, nil},
	{3, []int{1}},
	{5, []int{2, 3}},
}

// takes returns the act of opening a store, taking checkpoints and closing it.
func takes(p protocol, changes ...change) act {
	return func(fsys vfs.FS, l *ledger) error {
		s, err := opened(p, fsys, l)
		if err != nil {
			return err
		}
		for _, ch := range changes {
			if err := s.checkpoint(l, ch); err != nil {
				return bad(saveFails, "%w", err)
			}
		}
		if err := s.close(); err != nil {
			return bad(saveFails, "close: %w", err)
		}
		return nil
	}
}

// goesOn is what a process does after a restart: recover, take one checkpoint,
// close.
func goesOn(p protocol) act {
	return func(fsys vfs.FS, l *ledger) error {
		s, err := opened(p, fsys, l)
		if err != nil {
			return err
		}
		if err := s.checkpoint(l, nextChange(s.pages())); err != nil {
			return bad(saveFails, "next checkpoint: %w", err)
		}
		if err := s.close(); err != nil {
			return bad(saveFails, "close: %w", err)
		}
		return nil
	}
}

// opened opens a store and enters in the ledger which epoch was found.
func opened(p protocol, fsys vfs.FS, l *ledger) (session, error) {
	s, err := p.open(fsys)
	if err != nil {
		return nil, bad(unavailable, "%w", err)
	}
	g, f := judge(s, p.pageSize(), l)
	if f != nil {
		return nil, f
	}
	l.restarted(g)
	return s, nil
}

// reopens does acts one after the other, each with a process of its own.
func reopens(acts ...act) act {
	return func(fsys vfs.FS, l *ledger) error {
		for i, a := range acts {
			if err := a(fsys, l); err != nil {
				return fmt.Errorf("process %d: %w", i, err)
			}
		}
		return nil
	}
}

// randomHistory makes up n checkpoints.
func randomHistory(rng *rand.Rand, n int) []change {
	list := make([]change, n)
	pages := 0
	for i := range list {
		switch rng.IntN(4) {
		case 0:
			pages = rng.IntN(9)
		case 1:
			pages += rng.IntN(4)
		}
		if i == 0 {
			pages = 1 + rng.IntN(6)
		}
		var dirty []int
		for p := range pages {
			if rng.IntN(3) == 0 {
				dirty = append(dirty, p)
			}
		}
		list[i] = change{pages, dirty}
	}
	return list
}
