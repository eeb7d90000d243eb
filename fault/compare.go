package fault

import (
	"errors"
	"fmt"

	"loomstore/internal/mapping"
)

// comparer finds dirty pages by comparing them with the Reference. Nothing is
// protected and nothing faults.
//
// The cow tracker compares only pages that are private. It can not re-arm a
// page by itself: to be clean again a page has to be dropped, and then shows
// what image.bin holds. That is right only at a stop, for a page that equals
// the committed state, when that state is completely applied (R11). Until
// then, and above the file mapping for good, the page stays private and is
// compared each time.
type comparer struct {
	a       *Arena
	private *pagemap // nil: every page is compared
	carried *bitmap  // dirty whatever they hold
	drop    []int    // kept for its memory
}

func newCow(a *Arena) (tracker, error) {
	if a.shared {
		return nil, fmt.Errorf("shared mapping, which has no private pages: %w", errors.ErrUnsupported)
	}
	private, err := openPagemap(a)
	if err != nil {
		return nil, err
	}
	c, err := newComparer(a, private)
	if err != nil {
		private.close()
		return nil, err
	}
	return c, nil
}

func newCompare(a *Arena) (tracker, error) { return newComparer(a, nil) }

func newComparer(a *Arena, private *pagemap) (tracker, error) {
	carried, err := newBitmap(a.pages)
	if err != nil {
		return nil, err
	}
	return &comparer{a: a, private: private, carried: carried}, nil
}

func (c *comparer) collect(dst []int, limit int) ([]int, error) {
	g := c.a.slot.guardPage()
	c.drop = c.drop[:0]
	err := c.a.readable(func() error {
		return c.private.ascend(0, limit, func(p int) {
			switch {
			case p == g:
			case c.a.differs(p):
				c.carried.add(p, p+1)
			case p < c.a.mapped:
				c.drop = append(c.drop, p)
			}
		})
	})
	if err != nil {
		return dst, err
	}
	if c.private != nil && c.a.ref.Applied() {
		if err := c.dropClean(); err != nil {
			return dst, err
		}
	}
	return c.carried.take(dst, limit, g), nil
}

// dropClean gives the memory of clean pages back, a run of them at a time.
func (c *comparer) dropClean() error {
	for rest := c.drop; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[0]+n {
			n++
		}
		if err := c.a.region.Advise(rest[0]*PageSize, n*PageSize, mapping.DontNeed); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (c *comparer) mark(lo, hi int) { c.carried.add(lo, hi) }

// touch has nothing to do: a store by the kernel changes the page like any other.
func (c *comparer) touch(int, int) error { return nil }

func (c *comparer) highest() (int, error) {
	top := c.carried.top()
	found, err := c.a.highestDiffering(c.private, max(top, c.a.ref.Pages()))
	return max(top, found), err
}

func (c *comparer) forget(lo, hi int) error {
	c.carried.remove(lo, hi)
	return nil
}

// unprotect has nothing to do: nothing is protected.
func (c *comparer) unprotect() error { return nil }

func (c *comparer) close() error {
	c.private.close()
	return c.carried.close()
}

// highestDiffering returns one past the highest private page at or above from
// that has to be saved, or 0. The guard page may not be read.
func (a *Arena) highestDiffering(private *pagemap, from int) (int, error) {
	found := -1
	err := a.readable(func() (err error) {
		found, err = private.highest(from, a.pages, func(p int) bool {
			return p != a.slot.guardPage() && a.differs(p)
		})
		return err
	})
	return found + 1, err
}
