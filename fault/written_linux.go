package fault

import (
	"math/bits"

	"loomstore/internal/mapping"
)

// Questions about stores. Asked for no more than what the page tables hold,
// the kernel answers in 1 to 3 ns a part; to tell whether a part is of a file
// it looks at its record of the memory, 10 to 40 ns, nearly all of them cache
// misses. Hence isPrivate is asked last, about as little as possible.
var (
	// isUnarmed: what was stored to since it was armed, and what was never
	// armed, touched or not. In this form it is what the kernel answers fastest.
	isUnarmed = query{flags: scanRegistered, mask: categoryWritten, tell: categoryWritten}
	// isTouched leaves out what has nothing in the page tables.
	isTouched = query{flags: scanRegistered, mask: categoryWritten, either: categoryPresent | categorySwapped, tell: categoryZero}
	// isFilled leaves out the page of zeros, too.
	isFilled = query{flags: scanRegistered, mask: categoryWritten | categoryZero, absent: categoryZero, either: categoryPresent | categorySwapped}
)

const (
	// hintEvery bounds how many calls for single runs are cheaper than one for
	// the whole arena: one in so many pages. Whole pages that were never
	// touched make more than that soon, and are passed over faster by isTouched.
	hintEvery = 128
	// askApart is how many parts between two runs are cheaper to ask about
	// than to leave out.
	askApart = 32
)

// written finds the parts of an arena's pages that were stored to since they
// were armed. A part is a page of the system's.
//
// In a shared mapping that is every part that is not armed: one without memory
// may have been written to its file and evicted. In a private mapping it is
// those that have memory of their own. Which these are, in the part of the
// arena that maps the image, is asked once for each and then known until
// forget.
//
// Above the image a part that is read for the first time becomes the page of
// zeros that all share, and is reported as well. One that never had memory of
// its own held zeros from the beginning, so it is not visited: one word stored
// in each of a million pages brings three million of them with the first
// checkpoint, which reads the pages whole.
type written struct {
	scanner *scanner
	arm     query
	private *bitmap // parts known to have memory of their own, or to have had it
	doubt   bool    // stores may have gone unseen: all zeros are visited

	unsure []partRun // kept for its memory
}

// partRun is the parts [lo, hi).
type partRun struct{ lo, hi int }

func newWritten(s *scanner, shared bool) (*written, error) {
	private, err := newBitmap(s.region.Len() / mapping.SystemPage())
	if err != nil {
		return nil, err
	}
	w := &written{scanner: s, arm: isTouched.rearming(), private: private}
	if shared {
		w.arm = isUnarmed.rearming()
	}
	return w, nil
}

func (w *written) close() error {
	if w == nil {
		return nil
	}
	return w.private.close()
}

// pagesOf is how many pages hold the parts [0, n).
func pagesOf(n int) int { return (n + parts() - 1) / parts() }

// forget arms the pages [lo, hi), whatever was known of them.
func (w *written) forget(lo, hi int) error {
	w.private.remove(lo*parts(), hi*parts())
	return w.scanner.scan(w.arm, lo*parts(), hi*parts(), func(int, int, uint64) {})
}

// hold says that the pages [lo, hi), above the part that maps the image, may
// hold something that was not seen to be stored.
func (w *written) hold(lo, hi int) {
	if lo < hi {
		w.private.add(lo*parts(), hi*parts())
	}
}

// take visits the pages below limit, of which mapped are of the image, that
// were stored to, and arms them. Each may be visited several times, and not in
// order. Pages of the image that were only read are armed and not visited.
//
// A part is armed in the call that reports it: what is stored to while this
// runs is visited now or the next time. After an error parts may be armed that
// were not visited.
func (w *written) take(limit, mapped int, visit func(lo, hi int, zero bool)) error {
	ofImage := mapped * parts()
	w.unsure = w.unsure[:0]
	report := func(lo, hi int, is uint64) {
		zero := is&categoryZero != 0 // is not of a file
		if end := min(hi, ofImage); lo < end && !zero && !w.private.has(lo, end) {
			w.unsure = append(w.unsure, partRun{lo, end})
			lo = end
		}
		switch {
		case lo >= hi:
		case zero && lo >= ofImage && !w.doubt:
			w.visitHeld(lo, hi, visit)
		default:
			if !zero {
				w.private.add(lo, hi)
			}
			visit(lo/parts(), pagesOf(hi), zero)
		}
	}
	few, err := w.hint(limit * parts())
	if err != nil {
		return err
	}
	for _, r := range few {
		if err := w.scanner.scan(w.arm, r.lo, r.hi, report); err != nil {
			return err
		}
	}
	return w.ask(func(lo, hi int) { visit(lo/parts(), pagesOf(hi), false) })
}

// visitHeld visits the pages of those of the parts [lo, hi), which are zero
// now, that may have held something else, and perhaps some beside them.
func (w *written) visitHeld(lo, hi int, visit func(lo, hi int, zero bool)) {
	w.private.each(lo, hi, func(i int, word uint64) {
		visit((i<<6+bits.TrailingZeros64(word))/parts(), pagesOf(i<<6+bits.Len64(word)), true)
	})
}

// hint returns runs that hold everything that is written: a few if they are
// few, then all that is left.
func (w *written) hint(limit int) ([]partRun, error) {
	var few []partRun
	most := max(1, limit/(hintEvery*parts()))
	next, err := w.scanner.ask(isUnarmed, 0, limit, most, func(lo, hi int, _ uint64) {
		few = append(few, partRun{lo, hi})
	})
	if next < limit {
		few = append(few, partRun{next, limit})
	}
	return few, err
}

// ask visits those of the unsure parts that are private, and notes that.
func (w *written) ask(visit func(lo, hi int)) error {
	for rest := w.unsure; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].lo-rest[n-1].hi <= askApart {
			n++
		}
		near := rest[:n]
		rest = rest[n:]
		err := w.scanner.scan(isPrivate, near[0].lo, near[n-1].hi, func(lo, hi int, _ uint64) {
			for len(near) > 0 && near[0].hi <= lo {
				near = near[1:]
			}
			for _, r := range near {
				if r.lo >= hi {
					break
				}
				from, to := max(lo, r.lo), min(hi, r.hi)
				w.private.add(from, to)
				visit(from, to)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
