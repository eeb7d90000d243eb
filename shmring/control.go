package shmring

import (
	"errors"
	"os"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// The control block: 4096 bytes in an object of its own beside the two rings,
// made by a creator of ours. It does not touch the wire format: upstream never
// looks at it. A word that an end sleeps on has a cache line of its own.
//
//	  0  u64  magic "LOOMRING"
//	  8  u32  version, 1
//	 12  u32  0
//	 16  u64  inode number of the :tx object
//	 24  u64  inode number of the :rx object
//	 64  u32  creator: 0 unborn, 1 attached, 2 closed
//	 68  u32  creator: process id, for messages only
//	 72  u32  creator: 1 if another process's memory barrier reaches it
//	128  u32  opener: as the creator
//	132  u32  opener: process id
//	136  u32  opener: barrier
//	192  u32  bytes of data that the consumer of :tx sleeps for; 0 = it is awake
//	256  u32  bytes of room that the producer of :tx sleeps for; 0 = it is awake
//	320  u32  the consumer of :rx
//	384  u32  the producer of :rx
//
// An end is alive while its process holds an open-file-description lock on
// byte 0 (creator) or 1 (opener): the kernel drops it when the process ends,
// however it ends, and no pid can be mistaken.
const (
	controlSize    = 4096
	controlMagic   = 0x474e49524d4f4f4c // "LOOMRING"
	controlVersion = 1

	magicAt      = 0
	versionAt    = 8
	pushInodeAt  = 16
	popInodeAt   = 24
	partyAt      = 64 // creator; the opener one stride further
	partyStride  = 64
	pidAt        = 4 // inside a party
	barrierAt    = 8
	sleepAt      = 192
	sleepStride  = 64
	sleepersRing = 2 // per ring: consumer, producer
)

// party is one of the two processes of a pair.
type party int

const (
	creator party = iota
	opener
)

func (p party) other() party { return 1 - p }

// The lives of a party, as the control block says them.
const (
	partyUnborn uint32 = iota
	partyAttached
	partyClosed
)

// peerState is what one party knows of the other.
type peerState int

const (
	peerUnknown peerState = iota // not attached yet, or upstream's code
	peerAlive                    // ours, and running
	peerGone                     // ours, and closed the pair
	peerDead                     // ours, and ended without closing
)

// control is one party's hold on the control block. Its methods may be called
// by the producer and the consumer at once. A nil control is a pair without
// one: the peer stays unknown.
type control struct {
	view *mapping.View
	file *os.File // holds the lock
	self party
	met  atomic.Bool // the peer was seen attached; it can not take that back
}

func (c *control) life(p party) *atomic.Uint32 {
	return c.view.Uint32(partyAt + int(p)*partyStride)
}

// sleeper returns the offset of the word that an end of a ring sleeps on.
func sleeper(ring party, producing bool) int {
	at := sleepAt + int(ring)*sleepersRing*sleepStride
	if producing {
		at += sleepStride
	}
	return at
}

// attach records this party as running.
func (c *control) attach() {
	c.view.Uint32(partyAt + int(c.self)*partyStride + pidAt).Store(uint32(os.Getpid()))
	if registerBarrier() {
		c.view.Uint32(partyAt + int(c.self)*partyStride + barrierAt).Store(1)
	}
	c.life(c.self).Store(partyAttached)
}

// fenced tells whether a barrier of this process reaches the peer.
func (c *control) fenced() bool {
	return c.view.Uint32(partyAt+int(c.self.other())*partyStride+barrierAt).Load() == 1
}

// detach records that this party closed the pair, wakes everybody, and drops
// the lock: closing the file alone would not, as long as it is mapped.
func (c *control) detach() error {
	return errors.Join(mapping.Guarded(c.view.Bytes(), func() error {
		c.life(c.self).Store(partyClosed)
		for ring := range 2 {
			for _, producing := range []bool{false, true} {
				wake(c.view, sleeper(party(ring), producing))
			}
		}
		return nil
	}), unlock(c.file, c.self), c.file.Close())
}

// peer looks at the peer's record and, once it has attached, at its lock.
func (c *control) peer() peerState {
	if c == nil {
		return peerUnknown
	}
	life := c.life(c.self.other()).Load()
	if life != partyUnborn && !c.met.Load() {
		c.met.Store(true)
	}
	switch {
	case !c.met.Load():
		return peerUnknown
	case life == partyClosed:
		return peerGone
	case locked(c.file, c.self.other()):
		return peerAlive
	default:
		return peerDead
	}
}

// wake rouses the sleeper on the word at off.
func wake(view *mapping.View, off int) {
	view.Uint32(off).Store(0)
	futexWake(view, off)
}
