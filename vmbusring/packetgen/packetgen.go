// Package packetgen makes the packets of spec section 8: the same stream for
// the same arguments in every implementation, so that two of them can be put
// against each other, and each can check what the other wrote without having
// it sent beside. It is not a source of randomness for anything else.
package packetgen

import (
	"encoding/binary"
	"fmt"

	"loomstore/vmbusring"
)

// Stream describes an endless sequence of packets. Packet i depends on the
// fields and on i alone.
type Stream struct {
	Seed   uint64
	Lo, Hi int  // bounds of the payload's length in bytes, both included
	Mixed  bool // all types of packets instead of in-band ones
}

// maxSize is more than any packet can carry.
const maxSize = 1 << 20

// Validate checks the bounds.
func (s Stream) Validate() error {
	if s.Lo < 0 || s.Hi < s.Lo || s.Hi > maxSize {
		return fmt.Errorf("packetgen: sizes %d..%d: %w", s.Lo, s.Hi, vmbusring.ErrInvalid)
	}
	return nil
}

// Generator makes the packets of a Stream in its own memory, which the next
// packet reuses.
type Generator struct {
	stream  Stream
	state   uint64
	payload []byte
	pfns    []uint64
}

// New returns a generator for s, which must be valid.
func New(s Stream) *Generator { return &Generator{stream: s} }

// next is splitmix64.
func (g *Generator) next() uint64 {
	g.state += 0x9E3779B97F4A7C15
	z := g.state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// Packet makes packet i into p. What p refers to is valid until the next call.
func (g *Generator) Packet(i uint64, p *vmbusring.Packet) {
	g.state = g.stream.Seed ^ (i+1)*0xD1342543DE82EF95
	size := g.stream.Lo + int(g.next()%uint64(g.stream.Hi-g.stream.Lo+1))
	kind := g.next() % 5
	if !g.stream.Mixed {
		kind = 0
	}
	p.TransactionID = g.next()
	p.CompletionRequested, p.HasTransactionID = false, true
	p.GPARanges, p.TransferSet, p.TransferRanges = p.GPARanges[:0], 0, p.TransferRanges[:0]
	switch kind {
	case 0, 1:
		p.Type = vmbusring.InBand
		p.CompletionRequested, p.HasTransactionID = kind == 1, kind == 1
	case 2:
		p.Type = vmbusring.Completion
	case 3:
		p.Type, p.CompletionRequested = vmbusring.GPADirect, true
		g.gpaRanges(p)
	case 4:
		p.Type, p.CompletionRequested = vmbusring.TransferPages, true
		p.TransferSet = uint16(g.next())
		for range 1 + g.next()%4 {
			v := g.next()
			p.TransferRanges = append(p.TransferRanges, vmbusring.TransferRange{ByteCount: uint32(v), ByteOffset: uint32(v >> 32)})
		}
	}
	p.Payload = g.bytes(size)
}

func (g *Generator) gpaRanges(p *vmbusring.Packet) {
	const mostPages = 3 * 4 // 3 ranges of 8192 bytes that begin inside a page
	if g.pfns == nil {
		g.pfns = make([]uint64, 0, mostPages)
	}
	g.pfns = g.pfns[:0]
	for range 1 + g.next()%3 {
		r := vmbusring.GPARange{Offset: uint32(g.next() & 0xfff)}
		r.Len = uint32(1 + g.next()%8192)
		first := len(g.pfns)
		for range (r.Offset + r.Len + 4095) / 4096 {
			g.pfns = append(g.pfns, g.next()&0xffffffffff)
		}
		r.PFNs = g.pfns[first:]
		p.GPARanges = append(p.GPARanges, r)
	}
}

func (g *Generator) bytes(n int) []byte {
	if cap(g.payload) < n+8 {
		g.payload = make([]byte, n+8)
	}
	b := g.payload[:0]
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, g.next())
	}
	return b[:n]
}
