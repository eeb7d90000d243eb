package vmbusring

import (
	"encoding/binary"

	"loomstore/internal/mapping"
)

// area is the data area of a ring with its first piece at hand: flat memory,
// which is nearly all there is, then needs no call through Memory.
type area struct {
	mem   Memory
	first []byte
	size  int
}

func areaOf(mem Memory) area { return area{mem: mem, first: mem.Run(0), size: mem.Size()} }

func (a *area) run(off int) []byte {
	if off < len(a.first) {
		return a.first[off:]
	}
	return a.mem.Run(off)
}

// distance returns the bytes from one index up to another, around the end.
func (a *area) distance(from, to int) int {
	d := to - from
	if d < 0 {
		d += a.size
	}
	return d
}

// free returns the writable bytes between valid indices: the last 8 are never
// used, so that a full ring differs from an empty one.
func (a *area) free(in, out int) int {
	f := out - in - 8
	if f < 0 {
		f += a.size
	}
	return f
}

// advance returns the index n bytes, at most the ring's size, behind at.
func (a *area) advance(at, n int) int {
	at += n
	if at >= a.size {
		at -= a.size
	}
	return at
}

// valid checks an index that the peer wrote.
func (a *area) valid(index uint32) bool {
	return index < uint32(a.size) && index%8 == 0
}

// descriptor loads the two words of a descriptor once, each atomically: the
// peer may be writing to them. Pieces hold whole words, so the end of one can
// only come between the two.
func (a *area) descriptor(off int) (head, id uint64) {
	run := a.run(off)
	head = mapping.LoadWord(run)
	if len(run) < descriptorSize {
		return head, mapping.LoadWord(a.run(a.advance(off, 8)))
	}
	return head, mapping.LoadWord(run[8:])
}

// get copies len(b) bytes at off into private memory, which alone is looked at
// afterwards.
func (a *area) get(off int, b []byte) {
	n := copy(b, a.run(off))
	for n < len(b) {
		b = b[n:]
		off = a.advance(off, n)
		n = copy(b, a.run(off))
	}
}

// putDescriptor writes the two words of a descriptor at off and returns the
// offset behind them.
func (a *area) putDescriptor(off int, head, id uint64) int {
	run := a.run(off)
	if len(run) < descriptorSize {
		return a.putWord(a.putWord(off, head), id)
	}
	binary.LittleEndian.PutUint64(run, head)
	binary.LittleEndian.PutUint64(run[8:], id)
	return a.advance(off, descriptorSize)
}

// putWord writes a word at off and returns the offset behind it.
func (a *area) putWord(off int, w uint64) int {
	binary.LittleEndian.PutUint64(a.run(off), w)
	return a.advance(off, 8)
}

// put writes b at off and returns the offset behind it.
func (a *area) put(off int, b []byte) int {
	n := copy(a.run(off), b)
	for n < len(b) {
		b = b[n:]
		off = a.advance(off, n)
		n = copy(a.run(off), b)
	}
	return a.advance(off, n)
}
