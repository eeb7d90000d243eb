package crash

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// content is what an image should hold: for each page the key of the attempt
// at a checkpoint that wrote it last, 0 if none did.
type content []uint64

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
		binary.LittleEndian.PutUint64(dst[i:], r.Uint64())
	}
}

// change is one checkpoint to be: the image's new page count and the pages
// that change.
type change struct {
	pages int
	dirty []int
}

// on returns the content after the change was made to c by attempt key.
func (ch change) on(c content, key uint64) content {
	next := make(content, ch.pages)
	copy(next, c)
	for _, p := range ch.dirty {
		next[p] = key
	}
	return next
}

// ledger knows what a store may hold: the content of some epoch from acked to
// begun, and nothing else (R1).
type ledger struct {
	acked, begun uint64
	first        uint64    // epoch of states[0]
	states       []content // of the epochs from first to begun
	life         uint64    // how often the process was started: part of every key
	onAck        func()    // told of every acknowledgement
}

func newLedger() *ledger { return &ledger{states: []content{nil}} }

// clone returns an independent ledger that nobody watches.
func (l *ledger) clone() *ledger {
	c := *l
	c.states, c.onAck = slices.Clone(l.states), nil
	return &c
}

// at returns the content of an epoch between acked and begun.
func (l *ledger) at(epoch uint64) (content, bool) {
	if epoch < l.first || epoch > l.begun {
		return nil, false
	}
	return l.states[epoch-l.first], true
}

// begin enters the attempt at the next checkpoint and returns its content.
func (l *ledger) begin(ch change) content {
	last := l.states[l.begun-l.first]
	next := ch.on(last, (l.begun+1)<<16|l.life)
	l.begun++
	l.states = append(l.states, next)
	return next
}

func (l *ledger) ack(epoch uint64) {
	l.acked = epoch
	if l.onAck != nil {
		l.onAck()
	}
}

// restarted enters that a new process found epoch: what was begun beyond it is
// gone, and it may not be lost any more.
func (l *ledger) restarted(epoch uint64) {
	l.states = l.states[:epoch-l.first+1]
	l.acked, l.begun = epoch, epoch
	l.life++
	if l.onAck != nil {
		l.onAck()
	}
}

// key distinguishes ledgers that judge the same files differently.
func (l *ledger) key() uint64 {
	return (l.acked*31+l.begun)*31 + l.life
}
