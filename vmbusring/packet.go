package vmbusring

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Type is the type of a packet, as its descriptor has it.
type Type uint16

// The types that a ring carries.
const (
	InBand        Type = 0x6
	TransferPages Type = 0x7
	GPADirect     Type = 0x9
	Completion    Type = 0xb
)

// String returns the name that loomctl prints.
func (t Type) String() string {
	switch t {
	case InBand:
		return "inband"
	case TransferPages:
		return "transfer_pages"
	case GPADirect:
		return "gpa_direct"
	case Completion:
		return "completion"
	default:
		return fmt.Sprintf("type %#x", uint16(t))
	}
}

const (
	descriptorSize = 16
	trailerSize    = 8
	minPacket      = descriptorSize + trailerSize
	maxPacketBody  = math.MaxUint16 * 8 // what 16 bits of length8 can say
	flagCompletion = 1                  // completion requested; every other flag must be 0
	gpaPage        = 4096               // unit of GPA ranges, whatever the system's page
)

// GPARange is a buffer in guest memory: Len bytes that begin Offset bytes into
// the first of the pages. There is one page number for every page touched.
type GPARange struct {
	Len    uint32 // at least 1
	Offset uint32 // below 4096
	PFNs   []uint64
}

// pages returns the number of page numbers that the range needs.
func (g GPARange) pages() int { return int((uint64(g.Offset) + uint64(g.Len) + gpaPage - 1) / gpaPage) }

// TransferRange is a part of a buffer that both ends agreed on beforehand.
type TransferRange struct {
	ByteCount  uint32
	ByteOffset uint32
}

// Packet is one packet in private memory (spec section 1). The zero value is
// an empty packet of no type, ready to be read into; reading into the same
// Packet again reuses its memory, so a slice taken from it is valid until
// then.
type Packet struct {
	Type Type
	// CompletionRequested asks the reader to answer with a Completion of the
	// same TransactionID. GPADirect and TransferPages always ask.
	CompletionRequested bool
	// TransactionID is written with every packet; a reader may look at it
	// only if HasTransactionID.
	TransactionID    uint64
	HasTransactionID bool // set by Read

	GPARanges      []GPARange      // of GPADirect, at least one
	TransferSet    uint16          // of TransferPages
	TransferRanges []TransferRange // of TransferPages

	// Payload as read ends with up to 7 bytes of padding: its true length is
	// not in the ring.
	Payload []byte

	At int // ring offset of the packet, set by Read

	buf  []byte   // backs Payload
	pfns []uint64 // backs GPARanges
}

// PacketSize returns the bytes that a packet with extra bytes of payload behind
// its own takes in the ring, trailer included.
func (p *Packet) PacketSize(extra int) int {
	return p.headerSize() + round8(len(p.Payload)+extra) + trailerSize
}

// headerSize returns the length of the descriptor and the extended header.
func (p *Packet) headerSize() int {
	switch p.Type {
	case GPADirect:
		n := descriptorSize + 8
		for _, g := range p.GPARanges {
			n += 8 + 8*len(g.PFNs)
		}
		return n
	case TransferPages:
		return descriptorSize + 8 + 8*len(p.TransferRanges)
	default:
		return descriptorSize
	}
}

// validate refuses what the peer would have to refuse.
func (p *Packet) validate() error {
	switch p.Type {
	case InBand, TransferPages:
	case Completion:
		if p.CompletionRequested {
			return fmt.Errorf("completion that asks for a completion: %w", ErrInvalid)
		}
	case GPADirect:
		if len(p.GPARanges) == 0 {
			return fmt.Errorf("GPA direct packet without a range: %w", ErrInvalid)
		}
		for i, g := range p.GPARanges {
			if g.Len == 0 || g.Offset >= gpaPage || g.pages() != len(g.PFNs) {
				return fmt.Errorf("GPA range %d: %d bytes at %d with %d page numbers: %w", i, g.Len, g.Offset, len(g.PFNs), ErrInvalid)
			}
		}
	default:
		return fmt.Errorf("packet of %v: %w", p.Type, ErrInvalid)
	}
	return nil
}

// flags returns the flags that a writer of this type sets (spec section 1).
func (p *Packet) flags() uint64 {
	if p.CompletionRequested || p.Type == GPADirect || p.Type == TransferPages {
		return flagCompletion
	}
	return 0
}

// putExtended writes the extended header, which is never read back, and
// returns the offset behind it.
func (p *Packet) putExtended(a *area, off int) int {
	if p.Type == GPADirect {
		off = a.putWord(off, uint64(len(p.GPARanges))<<32)
		for _, g := range p.GPARanges {
			off = a.putWord(off, uint64(g.Len)|uint64(g.Offset)<<32)
			for _, pfn := range g.PFNs {
				off = a.putWord(off, pfn)
			}
		}
		return off
	}
	off = a.putWord(off, uint64(p.TransferSet)|uint64(len(p.TransferRanges))<<32)
	for _, t := range p.TransferRanges {
		off = a.putWord(off, uint64(t.ByteCount)|uint64(t.ByteOffset)<<32)
	}
	return off
}

// room returns n bytes of the packet's own memory. It grows to at most limit,
// in doublings, so that a stream of packets stops allocating.
func (p *Packet) room(n, limit int) []byte {
	if cap(p.buf) < n {
		p.buf = make([]byte, min(max(n, 2*cap(p.buf), 256), limit))
	}
	return p.buf[:n]
}

// parseExtended takes the ranges out of the private copy ext of the extended
// header. What it allocates is bounded by the bytes there, not by a count.
func (p *Packet) parseExtended(ext []byte) error {
	word := binary.LittleEndian.Uint64(ext)
	count := word >> 32
	ext = ext[8:]
	if p.Type == TransferPages {
		p.TransferSet = uint16(word)
		return p.parseTransfer(ext, count)
	}
	if count == 0 {
		return p.corrupt(CodeRangeCount, "range count", 0, "at least 1")
	}
	return p.parseGPA(ext, count)
}

func (p *Packet) parseTransfer(ext []byte, count uint64) error {
	if room := uint64(len(ext) / 8); count > room {
		return p.corrupt(CodeRangeShort, "range count", count, fmt.Sprintf("at most %d", room))
	}
	for range count {
		word := binary.LittleEndian.Uint64(ext)
		ext = ext[8:]
		p.TransferRanges = append(p.TransferRanges, TransferRange{ByteCount: uint32(word), ByteOffset: uint32(word >> 32)})
	}
	return nil
}

func (p *Packet) parseGPA(ext []byte, count uint64) error {
	// Grown once: the ranges keep slices of it.
	p.pfns = slices.Grow(p.pfns[:0], len(ext)/8)
	for range count {
		if len(ext) < 8 {
			return p.corrupt(CodeRangeShort, "range count", count, fmt.Sprintf("at most %d", len(p.GPARanges)))
		}
		word := binary.LittleEndian.Uint64(ext)
		ext = ext[8:]
		g := GPARange{Len: uint32(word), Offset: uint32(word >> 32)}
		if g.Len == 0 {
			return p.corrupt(CodeRangeEmpty, "length of a range", 0, "at least 1")
		}
		if g.Offset >= gpaPage {
			return p.corrupt(CodeRangeOffset, "offset of a range", uint64(g.Offset), "below 0x1000")
		}
		pages := g.pages()
		if pages > len(ext)/8 {
			return p.corrupt(CodeRangeShort, "length of a range", uint64(g.Len), fmt.Sprintf("%d pages or fewer", len(ext)/8))
		}
		first := len(p.pfns)
		for range pages {
			p.pfns = append(p.pfns, binary.LittleEndian.Uint64(ext))
			ext = ext[8:]
		}
		g.PFNs = p.pfns[first:len(p.pfns):len(p.pfns)]
		p.GPARanges = append(p.GPARanges, g)
	}
	return nil
}

func (p *Packet) corrupt(code Code, what string, got uint64, want string) error {
	return &CorruptError{Code: code, At: p.At, What: what, Got: got, Want: want}
}

func round8(n int) int { return (n + 7) &^ 7 }
