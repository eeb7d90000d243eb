package shmring

import "strings"

// ObjectSize is the length in bytes of each of the two shared memory objects
// of a pair.
const ObjectSize = 65536

// MaxMessage is the length in bytes of the longest message. It needs an empty
// ring.
const MaxMessage = capacity - spare - lengthSize - markSize

// MaxName is the length in bytes of the longest name of a pair.
const MaxName = 255 - len(namePrefix) - len(pushSuffix)

// Offsets in an object, and sizes in its records (spec section 1).
const (
	popAt    = 0                     // u64: offset of the next record to pop
	pushAt   = 8                     // u64: offset where the next record will go
	bufferAt = 16                    // the buffer; every record offset is relative to it
	capacity = ObjectSize - bufferAt // of the buffer

	lengthSize = 2 // u16 in front of every record, at an even offset
	markSize   = 4 // application header in front of every message
	spare      = 2 // always free: the length behind the newest record must be zeroed
)

// The marks that say what a record is, read as little-endian words.
const (
	dataMark = 0x0f0e0e0b // 0B 0E 0E 0F
	eofMark  = 0x0d0a0e0d // 0D 0E 0A 0D
)

// firstOffset is where both offsets of a new ring of ours start. Upstream
// starts at 0, and its open writes a zero length there, unasked (D1). From 2
// on the two spare bytes lie at 0 until the first record has been popped, so a
// peer that opens late destroys nothing.
const firstOffset = 2

// portion is how many bytes a batch publishes or gives back at once.
const portion = capacity / 4

// gatherMost is the length of the longest message of a batch that is copied
// twice so that the ring is filled in long copies. From here on a message is
// one itself.
const gatherMost = 2048

// The names of the objects of a pair. The control block is ours alone.
const (
	namePrefix    = "demikernel-"
	pushSuffix    = ":tx" // the creator pushes here
	popSuffix     = ":rx" // the creator pops here
	controlSuffix = ":cb"
)

// checkName keeps the rules of POSIX shared memory names.
func checkName(name string) error {
	if name == "" || len(name) > MaxName || strings.ContainsAny(name, "/\x00") {
		return ErrName
	}
	return nil
}

// slotSize returns the bytes that a record of length bytes takes in the buffer.
func slotSize(length uint32) uint32 { return (length + lengthSize + 1) &^ 1 }

// advance returns the offset n bytes behind off; both are below capacity.
func advance(off, n uint32) uint32 {
	off += n
	if off >= capacity {
		off -= capacity
	}
	return off
}

// distance returns how far to lies ahead of from, going round.
func distance(from, to uint32) uint32 {
	if to >= from {
		return to - from
	}
	return to + capacity - from
}

// validOffset tells whether an offset loaded from shared memory can be one.
func validOffset(off uint64) bool { return off < capacity && off%2 == 0 }
