package vmbusring

import "fmt"

// Reader is the reading end of a ring. Read takes packets, Commit gives their
// room back all at once. Its own index is private; everything that the peer
// can write is loaded once and checked before it is used. The first broken
// rule sticks: every later Read reports it. Not for concurrent use.
type Reader struct {
	area
	control   Control
	limit     int // longest packet body accepted
	out       int // the next packet to be read
	last      int // out before the last Read
	published int // out, as the writer may see it
	in        int // the writer's index when it was last needed
	err       error
}

// NewReader opens the reading end. It masks interrupts and goes on where the
// ring's read index stands. An index that can not be is a *CorruptError.
// maxPacket bounds the bytes of a packet between descriptor and trailer, and
// so what Read allocates; 0 means the size of the ring.
func NewReader(mem Memory, maxPacket int) (*Reader, error) {
	r := &Reader{area: areaOf(mem), control: mem.Control(), limit: mem.Size()}
	if maxPacket > 0 {
		r.limit = min(maxPacket, r.limit)
	}
	out := r.control.Out.Load()
	if !r.valid(out) {
		return nil, r.badIndex("read index", out)
	}
	r.out, r.last, r.published = int(out), int(out), int(out)
	if err := r.loadIn(); err != nil {
		return nil, err
	}
	r.control.InterruptMask.Store(1)
	return r, nil
}

// Read copies the next packet into p. ErrEmpty means that there is none; a
// *CorruptError names what the peer broke, and the packet stays in the ring.
// The writer's index is loaded only when all packets known of are taken.
func (r *Reader) Read(p *Packet) error {
	if r.err != nil {
		return r.err
	}
	if r.out == r.in {
		if err := r.loadIn(); err != nil {
			return err
		}
		if r.out == r.in {
			return ErrEmpty
		}
	}
	avail := r.distance(r.out, r.in)
	if avail < minPacket {
		return r.fail(CodeAvailable, "data available", uint64(avail), "at least 24")
	}
	head, id := r.descriptor(r.out)
	typ, flags := Type(head), head>>48
	offset, body := int(uint16(head>>16))*8, int(uint16(head>>32))*8

	// Defect 1: the trailer counts, or out would pass in.
	if offset < descriptorSize || body < offset || avail < body+trailerSize {
		return r.fail(CodeDescriptor, "data offset and length", head, fmt.Sprintf("16 <= offset <= length <= %#x", avail-trailerSize))
	}
	extended := typ == GPADirect || typ == TransferPages
	if extended && offset < descriptorSize+8 {
		return r.fail(CodeDescriptor, "data offset", uint64(offset), "room for an extended header")
	}
	if flags&^flagCompletion != 0 {
		return r.fail(CodeFlags, "flags", flags, "0 or 1")
	}
	if !extended && typ != InBand && typ != Completion {
		return r.fail(CodeType, "type", uint64(typ), "0x6, 0x7, 0x9 or 0xb")
	}
	n := body - descriptorSize
	if n > r.limit {
		return r.fail(CodeLimit, "length", uint64(n), fmt.Sprintf("at most %#x", r.limit))
	}

	p.Type, p.At, p.TransactionID = typ, r.out, 0
	p.CompletionRequested = flags != 0
	p.HasTransactionID = flags != 0 || typ == Completion
	if p.HasTransactionID {
		p.TransactionID = id
	}
	p.GPARanges, p.TransferSet, p.TransferRanges = p.GPARanges[:0], 0, p.TransferRanges[:0]
	private := p.room(n, r.limit)
	r.get(r.advance(r.out, descriptorSize), private)
	p.Payload = private[offset-descriptorSize:]
	if extended {
		if err := p.parseExtended(private[:offset-descriptorSize]); err != nil {
			r.err = err
			return err
		}
	}
	r.last = r.out
	r.out = r.advance(r.out, body+trailerSize)
	return nil
}

// ReadBatch reads up to len(ps) packets and returns how many. An error after
// the first packet is left for the next call.
func (r *Reader) ReadBatch(ps []Packet) (int, error) {
	for i := range ps {
		if err := r.Read(&ps[i]); err != nil {
			if i > 0 {
				return i, nil
			}
			return 0, err
		}
	}
	return len(ps), nil
}

// Unread puts the packet that was read last back, once.
func (r *Reader) Unread() { r.out = r.last }

// Revert puts everything that was read since the last Commit back.
func (r *Reader) Revert() { r.out, r.last = r.published, r.published }

// Commit gives the room of the packets read back to the writer and tells
// whether that has to be signalled: the writer waits for room, and has it only
// now (spec section 2).
func (r *Reader) Commit() (signal bool) {
	if r.out == r.published {
		return false
	}
	before := r.published
	r.published, r.last = r.out, r.out
	r.control.Out.Store(uint32(r.out))
	// Sequentially consistent: these loads can not pass the store. Some ends
	// set a pending size that is not a multiple of 8.
	pending := int(r.control.PendingSendSize.Load() &^ 7)
	if pending == 0 || r.loadIn() != nil {
		return false
	}
	return r.free(r.in, before) < pending && pending <= r.free(r.in, r.out)
}

// CanRead loads the writer's index and tells whether there is a packet.
func (r *Reader) CanRead() (bool, error) {
	err := r.loadIn()
	return err == nil && r.in != r.out, err
}

// SetInterruptMask tells the writer not to signal new packets, or to do it.
// After unmasking look at CanRead, and only then sleep. Do not rely on the
// mask keeping its value: some kernels set it with every event.
func (r *Reader) SetInterruptMask(masked bool) {
	mask := uint32(0)
	if masked {
		mask = 1
	}
	r.control.InterruptMask.Store(mask)
}

func (r *Reader) loadIn() error {
	if r.err != nil {
		return r.err
	}
	in := r.control.In.Load()
	if !r.valid(in) {
		r.err = r.badIndex("write index", in)
		return r.err
	}
	r.in = int(in)
	return nil
}

func (r *Reader) fail(code Code, what string, got uint64, want string) error {
	r.err = &CorruptError{Code: code, At: r.out, What: what, Got: got, Want: want}
	return r.err
}
