package main

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"slices"
)

// keep is what of the pending writes a power cut keeps.
type keep int

const (
	keepAll  keep = iota
	keepNone      // only what was flushed
	keepLast      // the youngest overtook the others
	tearLast      // the youngest is cut off at a sector
	keep20        // each with this chance, and a quarter of them torn
	keep50
	keep80
	keeps
)

func (k keep) String() string {
	return [...]string{"all", "none", "last", "last torn", "20%", "50%", "80%"}[k]
}

// cut is a power cut behind the event pos-1 of a log.
type cut struct {
	pos  int
	keep keep
}

// cuts draws at most budget of the cuts of a log, in the order of the log. A
// cut is worth making behind a write, which is then pending, and behind a mark,
// behind which more is promised; what was flushed is cut once for each promise.
func cuts(rng *rand.Rand, log []event, budget int) []cut {
	var all []cut
	pending, stale := 0, true
	for i, e := range log {
		switch e.kind {
		case flushed:
			pending, stale = 0, true
			continue
		case marked:
			stale = true
		case written:
			pending++
		}
		for k := range keeps {
			switch {
			case k == keepNone && !stale, k != keepNone && pending == 0:
			case e.kind == marked && (k == keepLast || k == tearLast):
			default:
				all = append(all, cut{i + 1, k})
			}
		}
		stale = false
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = all[:min(budget, len(all))]
	slices.SortStableFunc(all, func(a, b cut) int { return a.pos - b.pos })
	return all
}

// pieces returns what a cut keeps of the pending writes, in their order.
// Writes in the sectors that whole names are not torn.
func pieces(rng *rand.Rand, pending []event, k keep, whole func(event) bool) []event {
	if len(pending) == 0 {
		return nil
	}
	last := pending[len(pending)-1]
	switch k {
	case keepAll:
		return pending
	case keepNone:
		return nil
	case keepLast:
		return []event{last}
	case tearLast:
		var kept []event
		if rng.IntN(2) == 0 {
			kept = slices.Clone(pending[:len(pending)-1])
		}
		if whole(last) {
			return kept
		}
		return append(kept, last.part(0, rng.Int64N(last.sectors()+1)))
	}
	chance := [...]float64{keep20: .2, keep50: .5, keep80: .8}[k]
	var kept []event
	for _, e := range pending {
		switch {
		case rng.Float64() >= chance:
		case rng.IntN(4) > 0 || whole(e):
			kept = append(kept, e)
		default:
			kept = append(kept, tear(rng, e)...)
		}
	}
	return kept
}

// tear returns what is left of a write that was under way: its beginning, its
// end, or any of its sectors.
func tear(rng *rand.Rand, e event) []event {
	n := e.sectors()
	at := rng.Int64N(n + 1)
	switch rng.IntN(3) {
	case 0:
		return []event{e.part(0, at)}
	case 1:
		return []event{e.part(at, n)}
	}
	var kept []event
	for s := range n {
		if rng.IntN(2) == 0 {
			kept = append(kept, e.part(s, s+1))
		}
	}
	return kept
}

// replay goes through a log from cut to cut, always forward.
type replay struct {
	log     []event
	durable content // of the base, changed in place
	next    int
	pending []event
	ledger  ledger
}

// to moves on to behind the event pos-1.
func (r *replay) to(pos int) {
	for ; r.next < pos; r.next++ {
		switch e := r.log[r.next]; e.kind {
		case written:
			r.pending = append(r.pending, e)
		case flushed:
			for _, p := range r.pending {
				r.durable.write(p, nil)
			}
			r.pending = r.pending[:0:0]
		case marked:
			r.ledger.apply(e.mark)
		}
	}
}

var signatureSeed = maphash.MakeSeed()

// signature tells the states of one recording apart.
func (r *replay) signature(kept []event) uint64 {
	var h maphash.Hash
	h.SetSeed(signatureSeed)
	flushes := r.next - len(r.pending)
	b := binary.LittleEndian.AppendUint64(nil, uint64(flushes))
	b = binary.LittleEndian.AppendUint64(b, r.ledger.Acked<<32|r.ledger.Begun)
	for _, e := range kept {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.off))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.n))
	}
	h.Write(b)
	return h.Sum64()
}
