// Package vmbusring speaks the ring protocol of Hyper-V's VMBus: packets of
// variable length in shared memory, one ring in each direction, a signal for
// the end that sleeps, and the pipes that are built on it.
//
// From the bottom up:
//
//   - Memory is where a ring lies: Flat (the heap, a dump, a part of a
//     mapping), Paged (discontiguous pages), File (two rings in a shared file).
//   - Writer and Reader are the two ends of a ring. They never wait and never
//     signal, but decide when to; many packets can share one Commit.
//   - Channel is a Reader, a Writer and a Signal: it waits, with a context, and
//     may be used by many goroutines. Pair makes both ends in one process.
//   - BytePipe (a net.Conn) and MessagePipe run over a Channel. PipeDecoder is
//     their reading half without the waiting.
//
// Package uio opens the channels of real devices, package signal has the ways
// to wake a peer, package packetgen makes test traffic.
//
// # The peer is hostile
//
// Whatever the peer can write is loaded once into a private copy, checked
// once, and then used. Each end keeps its own index to itself. A descriptor is
// loaded by two atomic loads of 8 bytes, a payload is copied once and parsed
// from the copy. Every length is bounded by the bytes that are there, trailer
// included, and by the caller's limit; nothing is clamped. What breaks a rule is
// a *CorruptError with a Code, and it sticks: to the Reader or Writer that found
// it, and to its Channel. No peer makes this package panic, loop without end, or
// allocate more than the caller allowed.
//
// What that does not cover: a peer may waste its own ring, send nonsense that
// keeps to the protocol, signal for nothing, or never answer. It shares the
// flags of an eventfd (signal.EventFD). And if the file behind a mapping is cut
// short, touching it raises SIGBUS.
//
// # The ring
//
// All integers are little-endian. A ring is a control page, then N bytes of
// data, N a multiple of 4096.
//
//	offset  word               owner
//	     0  in                 writer   where the next packet is written
//	     4  out                reader   where the next packet is read
//	     8  interrupt mask     reader   not 0: do not signal new packets
//	    12  pending send size  writer   free bytes it waits for, or 0
//	    64  feature bits       writer   bit 0: pending send size is used
//
// A packet starts at a multiple of 8; any part of it may lie across the end.
//
//	offset     size  field
//	     0      u16  type
//	     2      u16  offset of the payload / 8, at least 2
//	     4      u16  length / 8, without the trailer
//	     6      u16  flags: bit 0 asks for a completion
//	     8      u64  transaction id
//	    16           extended header (GPA direct, transfer pages), payload, padding
//	length      u64  trailer: the offset of this packet in the upper half
//
// The last 8 bytes of a ring are never used, so a packet takes at most N - 8,
// and no more than 65535*8 without its trailer.
package vmbusring
