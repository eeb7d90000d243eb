package vmbusring

import (
	"encoding/binary"
	"fmt"
)

// Limits of the pipe protocol (spec section 3), in bytes.
const (
	// MaxPipeMessage is the longest message, and the longest packet of a byte
	// pipe that is accepted.
	MaxPipeMessage = 16384
	// maxByteChunk is the longest packet that a byte pipe sends.
	maxByteChunk = 2048
)

const (
	pipeHeaderSize = 8
	pipeData       = 1 // the type of every packet that a peer may send
)

// pipeHeader returns the header of a packet with n bytes of data.
func pipeHeader(n int) (h [pipeHeaderSize]byte) {
	binary.LittleEndian.PutUint32(h[0:], pipeData)
	binary.LittleEndian.PutUint32(h[4:], uint32(n))
	return h
}

// pipeBytes checks a packet of a pipe, whose payload is already private, and
// returns the data in it. Partial packets (type 2) were the reader's own note
// in the original; here they can only come from the peer.
func pipeBytes(p *Packet) ([]byte, error) {
	if err := pipePacket(p); err != nil {
		return nil, err
	}
	if len(p.Payload) < pipeHeaderSize {
		return nil, p.corrupt(CodePipeLength, "payload", uint64(len(p.Payload)), "room for a pipe header")
	}
	typ, n := binary.LittleEndian.Uint32(p.Payload), binary.LittleEndian.Uint32(p.Payload[4:])
	if typ != pipeData {
		return nil, p.corrupt(CodePipeType, "pipe packet type", uint64(typ), "1")
	}
	if n > MaxPipeMessage {
		return nil, p.corrupt(CodePipeTooLarge, "length in the pipe header", uint64(n), fmt.Sprintf("at most %d", MaxPipeMessage))
	}
	body := p.Payload[pipeHeaderSize:]
	if int(n) > len(body) {
		return nil, p.corrupt(CodePipeLength, "length in the pipe header", uint64(n), fmt.Sprintf("at most %d", len(body)))
	}
	return body[:n], nil
}

// pipePacket refuses all but in-band packets. A completion that is asked for
// is never sent, as in the original.
func pipePacket(p *Packet) error {
	if p.Type != InBand {
		return p.corrupt(CodePipePacket, "type", uint64(p.Type), "0x6 in a pipe")
	}
	return nil
}
