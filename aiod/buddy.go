package aiod

import "math/bits"

// buddy hands out blocks of a range of offsets: powers of two from 64 bytes to
// a maximum, each aligned to its size. It starts empty and is extended as
// memory becomes usable. Not safe for concurrent use.
//
// What is free stands outside the range it describes, where the other end
// can not change it.
type buddy struct {
	maxShift uint
	end      uint64
	free     [][]uint32 // by order: free blocks, in units of 64 bytes, last in first out
	state    []uint8    // by unit, of the first unit of a block: freeBlock or usedBlock, and its order
	index    []uint32   // by unit: where a free block stands in its list
	inUse    int
}

const (
	minShift  = 6 // 64 bytes, the smallest block of the original
	freeBlock = 0x40
	usedBlock = 0x80
)

func newBuddy(maxBlock int) *buddy {
	maxShift := uint(bits.Len(uint(maxBlock)) - 1)
	return &buddy{maxShift: maxShift, free: make([][]uint32, maxShift-minShift+1)}
}

// extend makes [end, end+n) usable; n is a multiple of 64.
func (b *buddy) extend(n uint64) {
	units := (b.end + n) >> minShift
	b.state = append(b.state, make([]uint8, units-uint64(len(b.state)))...)
	b.index = append(b.index, make([]uint32, units-uint64(len(b.index)))...)
	for n > 0 {
		shift := min(uint(bits.TrailingZeros64(b.end|1<<b.maxShift)), uint(bits.Len64(n)-1))
		b.join(uint32(b.end>>minShift), shift-minShift)
		b.end += 1 << shift
		n -= 1 << shift
	}
}

// alloc returns the offset of a block of at least n bytes, or false if there
// is none. n is at most the maximum block.
func (b *buddy) alloc(n int) (uint64, bool) {
	want := b.order(n)
	order := want
	for order < uint(len(b.free)) && len(b.free[order]) == 0 {
		order++
	}
	if order >= uint(len(b.free)) {
		return 0, false
	}
	list := b.free[order]
	unit := list[len(list)-1]
	b.take(unit)
	for order > want { // give back upper halves
		order--
		b.put(unit+1<<order, order)
	}
	b.state[unit] = usedBlock | uint8(want)
	b.inUse++
	return uint64(unit) << minShift, true
}

// release gives a block back.
func (b *buddy) release(off uint64) {
	unit := uint32(off >> minShift)
	if b.state[unit]&usedBlock == 0 {
		panic("aiod: released a block that is not in use")
	}
	order := uint(b.state[unit] &^ usedBlock)
	b.state[unit] = 0
	b.inUse--
	b.join(unit, order)
}

// join makes a block free, in one with its buddy as far as that is free too.
func (b *buddy) join(unit uint32, order uint) {
	for order+minShift < b.maxShift {
		other := unit ^ 1<<order
		if int(other) >= len(b.state) || b.state[other] != freeBlock|uint8(order) {
			break
		}
		b.take(other)
		unit = min(unit, other)
		order++
	}
	b.put(unit, order)
}

// order returns the order of the smallest block that holds n bytes.
func (b *buddy) order(n int) uint {
	if n <= 1<<minShift {
		return 0
	}
	return uint(bits.Len(uint(n-1))) - minShift
}

func (b *buddy) put(unit uint32, order uint) {
	b.state[unit] = freeBlock | uint8(order)
	b.index[unit] = uint32(len(b.free[order]))
	b.free[order] = append(b.free[order], unit)
}

func (b *buddy) take(unit uint32) {
	order := b.state[unit] &^ freeBlock
	list := b.free[order]
	last := list[len(list)-1]
	i := b.index[unit]
	list[i], b.index[last] = last, i
	b.free[order] = list[:len(list)-1]
	b.state[unit] = 0
}
