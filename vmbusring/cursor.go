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

func (a *area) cursor(off int) cursor {
	run := a.run(off)
	return cursor{area: a, run: run, next: off + len(run)}
}

// cursor walks through a data area from piece to piece. Pieces hold whole
// words, so a word never straddles two of them.
type cursor struct {
	area *area
	run  []byte // the rest of the present piece
	next int    // where the following piece begins
}

func (c *cursor) turn() {
	if c.next == c.area.size {
		c.next = 0
	}
	c.run = c.area.run(c.next)
	c.next += len(c.run)
}

func (c *cursor) putWord(w uint64) {
	if len(c.run) == 0 {
		c.turn()
	}
	binary.LittleEndian.PutUint64(c.run, w)
	c.run = c.run[8:]
}

func (c *cursor) put(b []byte) {
	n := copy(c.run, b)
	c.run = c.run[n:]
	for n < len(b) {
		c.turn()
		b = b[n:]
		n = copy(c.run, b)
		c.run = c.run[n:]
	}
}

// word loads the next word once, atomically: the peer may be writing to it.
func (c *cursor) word() uint64 {
	if len(c.run) == 0 {
		c.turn()
	}
	w := mapping.LoadWord(c.run)
	c.run = c.run[8:]
	return w
}

// get copies into private memory, which alone is looked at afterwards.
func (c *cursor) get(b []byte) {
	n := copy(b, c.run)
	c.run = c.run[n:]
	for n < len(b) {
		c.turn()
		b = b[n:]
		n = copy(b, c.run)
		c.run = c.run[n:]
	}
}
