package vmbusring

import "fmt"

// Writer is the writing end of a ring. Append places packets behind what is
// published, Commit publishes all of them at once. Its own index is private:
// the ring's copy is written and never read back. Not for concurrent use.
type Writer struct {
	area
	control   Control
	in        int // where the next packet goes
	published int // in, as the reader may see it
	out       int // the reader's index when it was last needed
	pending   bool
	err       error // sticky
}

// NewWriter opens the writing end. It announces that it sets a pending send
// size, clears that, and goes on where the ring's write index stands. An index
// that can not be is a *CorruptError.
func NewWriter(mem Memory) (*Writer, error) {
	w := &Writer{area: areaOf(mem), control: mem.Control()}
	in := w.control.In.Load()
	if !w.valid(in) {
		return nil, w.badIndex("write index", in)
	}
	w.in, w.published = int(in), int(in)
	if err := w.loadOut(); err != nil {
		return nil, err
	}
	w.control.FeatureBits.Store(FeaturePending)
	w.control.PendingSendSize.Store(0)
	return w, nil
}

// Append writes a packet whose payload is p.Payload and then more, without
// publishing it. ErrFull means that it does not fit now, an error wrapping
// ErrLength that it never will, ErrInvalid that p is no packet; nothing was
// written then. The reader's index is loaded only when the room known is used up.
func (w *Writer) Append(p *Packet, more ...[]byte) error {
	if w.err != nil {
		return w.err
	}
	payload := len(p.Payload)
	for _, b := range more {
		payload += len(b)
	}
	header := descriptorSize
	if p.Type != InBand {
		if err := p.validate(); err != nil {
			return err
		}
		header = p.headerSize()
	}
	body := header + round8(payload)
	total := body + trailerSize
	// Defect 2: a length that 16 bits can not say would be cut.
	if total > w.size-8 || body > maxPacketBody {
		return fmt.Errorf("packet of %d bytes in a ring of %d: %w", total, w.size, ErrLength)
	}
	if w.free(w.in, w.out) < total {
		if err := w.reserve(total); err != nil {
			return err
		}
	}

	head := uint64(p.Type) | uint64(header/8)<<16 | uint64(body/8)<<32 | p.flags()<<48
	at := w.putDescriptor(w.in, head, p.TransactionID)
	if header > descriptorSize {
		at = p.putExtended(&w.area, at)
	}
	at = w.put(at, p.Payload)
	for _, b := range more {
		at = w.put(at, b)
	}
	if pad := -payload & 7; pad != 0 {
		at = w.put(at, zeros[:pad])
	}
	w.in = w.putWord(at, uint64(w.in)<<32)
	return nil
}

var zeros [8]byte

// reserve returns nil if total bytes are free, and ErrFull if not even after a
// fresh look at the reader's index.
func (w *Writer) reserve(total int) error {
	if w.free(w.in, w.out) >= total {
		return nil
	}
	fits, err := w.CanWrite(total)
	if err == nil && !fits {
		err = ErrFull
	}
	return err
}

// Commit publishes what was appended and tells whether the reader has to be
// signalled for it: it wants to be, and had read everything before (spec section 2).
func (w *Writer) Commit() (signal bool) {
	if w.in == w.published {
		return false
	}
	before := w.published
	w.published = w.in
	// Sequentially consistent, as all of sync/atomic: the two loads can not
	// pass the store, on arm64 neither (defect 7).
	w.control.In.Store(uint32(w.in))
	if w.control.InterruptMask.Load() != 0 || w.loadOut() != nil {
		return false
	}
	return w.out == before
}

// Revert drops what was appended since the last Commit.
func (w *Writer) Revert() { w.in = w.published }

// Free loads the reader's index and returns the free bytes behind what was
// appended. A packet fits if its PacketSize is not above that.
func (w *Writer) Free() (int, error) {
	if err := w.loadOut(); err != nil {
		return 0, err
	}
	return w.free(w.in, w.out), nil
}

// CanWrite loads the reader's index and tells whether a packet of total bytes
// fits now.
func (w *Writer) CanWrite(total int) (bool, error) {
	free, err := w.Free()
	return err == nil && free >= total, err
}

// SetPending asks the reader for a signal once total bytes are free. Look at
// CanWrite afterwards, and only then sleep; Append does not clear it.
func (w *Writer) SetPending(total int) error {
	if total < 0 || total > w.size-8 {
		return fmt.Errorf("pending send size of %d bytes in a ring of %d: %w", total, w.size, ErrLength)
	}
	w.control.PendingSendSize.Store(uint32(round8(total)))
	w.pending = total > 0
	return nil
}

// clearPending takes the wish for a signal back, if there is one (defect 9).
func (w *Writer) clearPending() {
	if w.pending {
		w.control.PendingSendSize.Store(0)
		w.pending = false
	}
}

// pendingFor returns the pending send size to wait with for total bytes: a
// quarter of the ring at least, or writer and reader wake up for every packet.
func (w *Writer) pendingFor(total int) int { return max(total, (w.size-8)/4) }

func (w *Writer) loadOut() error {
	if w.err != nil {
		return w.err
	}
	out := w.control.Out.Load()
	if !w.valid(out) {
		w.err = w.badIndex("read index", out)
		return w.err
	}
	w.out = int(out)
	return nil
}

func (a *area) badIndex(what string, got uint32) error {
	return &CorruptError{Code: CodeIndex, At: -1, What: what, Got: uint64(got), Want: fmt.Sprintf("a multiple of 8 below %#x", a.size)}
}
