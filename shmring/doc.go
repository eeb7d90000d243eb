// Package shmring is a pair of message rings in shared memory between two
// processes, one in each direction, in the format of Demikernel's catmem
// (microsoft/demikernel at cb1d902d): it works against the original's code at
// the other end, on either side, and does not have its defects.
//
// A Pair is two objects of 65536 bytes, demikernel-NAME:tx and :rx, which
// Create makes and Open attaches to. Each is one ring with one Producer and
// one Consumer. The format, little-endian:
//
//	 0..8      u64  pop_offset: where the next record to pop begins
//	 8..16     u64  push_offset: where the next record will go
//	16..65536  the buffer; offsets are relative to it, even, below 65520
//
//	record     u16 length (0 = not there yet), then that many bytes, then one
//	           pad byte if the length is odd; the bytes go round at the end
//	           of the buffer, the length never does
//	contents   0B 0E 0E 0F and a message of 1 to 65512 bytes,
//	           or 0D 0E 0A 0D alone: the end of the stream
//
// Beside them a creator of ours makes a third object, :cb, the control block
// (control.go): who is alive, and who sleeps. Where both ends are ours they
// sleep on its words and notice each other's death within milliseconds; a
// plain peer is polled with back-off, and its death shows as silence.
//
// Promises: what was pushed is popped, once, in order, also what was pushed
// before the peer attached; a peer that breaks the format, truncates an object
// or dies gives an error, never a panic, a wrong message or a hang beyond the
// context; no call allocates once it runs; nobody is busy while idle.
//
// What it does not do: several producers or consumers of one ring (make
// several pairs), empty messages (upstream reads them as the end), messages
// beyond 64 KiB, durability, and peers on another machine.
package shmring
