//go:build linux

package vmbusring_test

import (
	"encoding/binary"
	"sync/atomic"

	"loomstore/vmbusring"
)

// floorRing is the yardstick of the benchmarks: the least that a ring with
// packets of variable length can do. One producer, one consumer, a length of
// 4 bytes in front of each packet, packets padded to 8, two indices; nothing
// is validated, signalled or named. It lies in the same memory as a real ring.
type floorRing struct {
	head, tail  *atomic.Uint32 // written, read
	data        []byte
	header      uint32 // 4; 8 keeps payloads aligned, which long copies like
	write, read uint32 // private indices
	seenHead    uint32
	seenTail    uint32
}

func newFloorRing(f *vmbusring.Flat, header uint32) *floorRing {
	return &floorRing{header: header, head: f.Control().In, tail: f.Control().Out, data: f.Run(0)}
}

func (r *floorRing) used(from, to uint32) uint32 {
	if to >= from {
		return to - from
	}
	return uint32(len(r.data)) - from + to
}

func (r *floorRing) advance(at, n uint32) uint32 {
	at += n
	if at >= uint32(len(r.data)) {
		at -= uint32(len(r.data))
	}
	return at
}

// push writes a packet without publishing it.
func (r *floorRing) push(b []byte) bool {
	total := (r.header + uint32(len(b)) + 7) &^ 7
	size := uint32(len(r.data))
	if size-8-r.used(r.seenTail, r.write) < total {
		r.seenTail = r.tail.Load()
		if size-8-r.used(r.seenTail, r.write) < total {
			return false
		}
	}
	at := r.data[r.write:]
	binary.LittleEndian.PutUint32(at, uint32(len(b)))
	n := copy(at[r.header:], b)
	copy(r.data, b[n:])
	r.write = r.advance(r.write, total)
	return true
}

func (r *floorRing) publish() { r.head.Store(r.write) }

// pop copies the next packet into b and returns its length, or -1.
func (r *floorRing) pop(b []byte) int {
	if r.read == r.seenHead {
		r.seenHead = r.head.Load()
		if r.read == r.seenHead {
			return -1
		}
	}
	at := r.data[r.read:]
	b = b[:binary.LittleEndian.Uint32(at)]
	n := copy(b, at[r.header:])
	copy(b[n:], r.data)
	r.read = r.advance(r.read, (r.header+uint32(len(b))+7)&^7)
	return len(b)
}

func (r *floorRing) release() { r.tail.Store(r.read) }
