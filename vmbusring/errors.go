package vmbusring

import (
	"errors"
	"fmt"
	"net"
)

// Errors that callers test with errors.Is.
var (
	// ErrEmpty: no packet is there. Not a failure: wait and read again.
	ErrEmpty = errors.New("vmbusring: ring is empty")
	// ErrFull: the packet does not fit now. Nothing was written.
	ErrFull = errors.New("vmbusring: ring is full")
	// ErrLength: the packet, pipe message or pending send size can never fit.
	ErrLength = errors.New("vmbusring: invalid message length")
	// ErrInvalid: the arguments describe no packet or no ring.
	ErrInvalid = errors.New("vmbusring: invalid argument")
	// ErrCorrupt: the peer broke the protocol. Every CorruptError wraps it.
	ErrCorrupt = errors.New("vmbusring: ring is corrupt")
	// ErrClosed: the channel or pipe was closed on this side. It wraps net.ErrClosed.
	ErrClosed = fmt.Errorf("vmbusring: channel is closed: %w", net.ErrClosed)
)

// Code names one way to break the protocol.
type Code string

// The codes, in the order in which a packet is checked.
const (
	CodeIndex        Code = "invalid_ring_index"                  // in or out not below the size, or not a multiple of 8
	CodeAvailable    Code = "invalid_data_available"              // fewer bytes than a descriptor and a trailer
	CodeDescriptor   Code = "invalid_descriptor_offset_or_length" // of the packet, trailer included
	CodeFlags        Code = "unknown_flags"
	CodeType         Code = "unknown_packet_type"
	CodeLimit        Code = "packet_exceeds_limit" // longer than Options.MaxPacket
	CodeRangeCount   Code = "invalid_range_count"  // GPA direct without a range
	CodeRangeShort   Code = "range_too_small"      // the extended header ends inside a range
	CodeRangeEmpty   Code = "empty_byte_count"
	CodeRangeOffset  Code = "offset_too_large" // beyond the first page
	CodePipeType     Code = "invalid_pipe_packet_type"
	CodePipeLength   Code = "invalid_pipe_length"          // beyond the payload
	CodePipeTooLarge Code = "pipe_message_too_large"       // above MaxPipeMessage
	CodePipePacket   Code = "unexpected_ring_packet_type"  // in a pipe: not in-band
	CodeTransaction  Code = "completion_of_unknown_packet" // not outstanding, or completed before
)

// CorruptError tells how, where and with which value the peer broke the
// protocol. It wraps ErrCorrupt.
type CorruptError struct {
	Code Code
	At   int    // ring offset of the packet; -1 for an index or a completion
	What string // the field
	Want string // what would have been accepted
	Got  uint64
}

func (e *CorruptError) Error() string {
	where := ""
	if e.At >= 0 {
		where = fmt.Sprintf(" of the packet at %d", e.At)
	}
	return fmt.Sprintf("vmbusring: %s: %s%s is %#x, expected %s", e.Code, e.What, where, e.Got, e.Want)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
