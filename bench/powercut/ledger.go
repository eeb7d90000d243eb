package main

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

const pageSize = 16384

// pattern stands in every 256 bytes of a page, so that the rig can tell the
// writes of pages from those of the file system.
const pattern = 0x6a09e667f3bcc908

// fill writes the bytes that attempt key gives a page: a stream of its own for
// every key and page, so that no mixture of two states compares equal. Key 0
// is a page never written.
func fill(dst []byte, key uint64, page int) {
	if key == 0 {
		clear(dst)
		return
	}
	var r rand.PCG
	r.Seed(key, uint64(page))
	for i := 0; i < len(dst); i += 8 {
		word := r.Uint64()
		if i%256 == 128 {
			word = pattern
		}
		binary.LittleEndian.PutUint64(dst[i:], word)
	}
}

// change is one checkpoint to be: the page count and the pages that change.
type change struct {
	Pages int
	Dirty []int
}

// mark is a line that the workload writes through the disk's own server, so
// that it stands between the right two events of the log.
type mark struct {
	Kind   string // "open", "begin", "ack"
	Epoch  uint64 // of open: what was found
	Change change // of begin
}

// ledger knows what a store may hold: the state of one epoch from Acked to
// Begun, and nothing else. A state is a list of keys, one for each page.
type ledger struct {
	Acked, Begun uint64
	First        uint64     // epoch of States[0]
	States       [][]uint64 // of the epochs from First to Begun
	Life         uint64     // how often the process was started: part of every key
	// Sealed: what an opened store shows is durable. Else a process may see
	// what a power cut still takes away, and only an acknowledgement counts.
	Sealed bool
}

// clone returns an independent ledger.
func (l ledger) clone() ledger {
	l.States = slices.Clone(l.States)
	return l
}

// newLedger is that of a store that was just made.
func newLedger(d driver) ledger {
	return ledger{States: [][]uint64{nil}, Sealed: d.sealed}
}

// at returns the state of an epoch from First to Begun.
func (l *ledger) at(epoch uint64) ([]uint64, bool) {
	if epoch < l.First || epoch > l.Begun {
		return nil, false
	}
	return l.States[epoch-l.First], true
}

// key is what the attempt begun last writes.
func (l *ledger) key() uint64 { return l.Begun<<16 | l.Life }

func (l *ledger) apply(m mark) {
	switch m.Kind {
	case "begin":
		last := l.States[l.Begun-l.First]
		l.Begun++
		next := make([]uint64, m.Change.Pages)
		copy(next, last)
		for _, p := range m.Change.Dirty {
			next[p] = l.key()
		}
		l.States = append(l.States[:len(l.States):len(l.States)], next)
	case "ack":
		l.Acked = l.Begun
	case "open":
		// What was begun beyond is gone.
		l.States = l.States[:m.Epoch-l.First+1]
		l.Begun = m.Epoch
		l.Life++
		if l.Sealed {
			l.Acked = m.Epoch
		}
	}
}

// forget drops the states that can not come back.
func (l *ledger) forget() {
	l.States, l.First = slices.Clone(l.States[l.Acked-l.First:]), l.Acked
}

// randomChange makes up the next checkpoint of a store that has pages pages
// now.
func randomChange(rng *rand.Rand, pages int, d driver) change {
	before := pages
	switch rng.IntN(4) {
	case 0:
		pages = 1 + rng.IntN(12)
	case 1:
		pages += rng.IntN(6)
	}
	pages = max(1, min(pages, maxPages))
	ch := change{Pages: pages}
	for p := range pages {
		// vere writes the last page when it grows, so all do.
		if rng.IntN(3) == 0 || p == pages-1 && pages > before || d.filled && p >= before {
			ch.Dirty = append(ch.Dirty, p)
		}
	}
	return ch
}

// maxPages bounds the workload; the arena is larger.
const maxPages = 24
