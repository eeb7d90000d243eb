package vmbusring

import (
	"encoding/binary"
	"fmt"
	"io"
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

// PipeMode says how a pipe cuts its data into packets.
type PipeMode int

// The modes of spec section 3.
const (
	PipeByte    PipeMode = iota // a stream of bytes, which can end
	PipeMessage                 // one packet a message
	PipeRaw                     // one packet a message, without a pipe header
)

// PipeDecoder takes the data of a pipe out of packets. It never waits: pipes
// add that, and dumps need none.
type PipeDecoder struct {
	mode   PipeMode
	packet Packet
	rest   []byte // of a stream: what is left of packet, in private memory
	eof    bool   // of a stream: the end was reported
}

// NewPipeDecoder returns a decoder for a pipe of that mode.
func NewPipeDecoder(mode PipeMode) *PipeDecoder { return &PipeDecoder{mode: mode} }

// Read copies the next message, or as much of the stream as is there, into
// buf and returns its length. It returns ErrEmpty when the ring has no more,
// io.EOF at the end of a stream and ever after, a *MessageTooLargeError for a
// message longer than buf, and a *CorruptError for what breaks the protocol.
// Such a packet stays in the ring, and the error sticks to r. What was taken
// must be committed.
func (d *PipeDecoder) Read(r *Reader, buf []byte) (int, error) {
	if d.mode == PipeByte {
		return d.stream(r, buf)
	}
	if err := r.Read(&d.packet); err != nil {
		return 0, err
	}
	message, err := d.content(r)
	if err != nil {
		return 0, err
	}
	if len(message) > len(buf) {
		r.Unread()
		return 0, &MessageTooLargeError{Len: len(message), Buf: len(buf)}
	}
	return copy(buf, message), nil
}

// stream fills buf from as many packets as it needs. Whatever stops it behind
// good bytes is left in the ring for the next call: a broken packet does not
// take them with it (defect 5), and the packet that ends the stream is
// consumed only by the call that reports it.
func (d *PipeDecoder) stream(r *Reader, buf []byte) (n int, err error) {
	for n < len(buf) {
		if len(d.rest) == 0 {
			if err = d.next(r); err != nil {
				break
			}
			if len(d.rest) == 0 && n > 0 {
				r.Unread()
				break
			}
			if len(d.rest) == 0 {
				d.eof = true
				return 0, io.EOF
			}
		}
		k := copy(buf[n:], d.rest)
		d.rest = d.rest[k:]
		n += k
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (d *PipeDecoder) next(r *Reader) error {
	if d.eof {
		return io.EOF
	}
	if err := r.Read(&d.packet); err != nil {
		return err
	}
	var err error
	d.rest, err = d.content(r)
	return err
}

// content returns the data of the packet that was read last. A packet that
// breaks the protocol goes back, and ends the reader: the peer may change it,
// but must not have it looked at again.
func (d *PipeDecoder) content(r *Reader) (content []byte, err error) {
	if d.mode == PipeRaw {
		content, err = d.packet.Payload, pipePacket(&d.packet)
	} else {
		content, err = pipeBytes(&d.packet)
	}
	if err != nil {
		r.Unread()
		r.err = err
		return nil, err
	}
	return content, nil
}

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
