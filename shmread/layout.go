package shmread

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
)

const (
	magic0 = 0x414D5A4E
	magic1 = 0x43420200

	headerSize = 16
	sizeV1     = 72
	sizeV2     = 80
	sizeV3     = 104

	// pageSize is what is mapped, whatever segsize says: the size is the
	// peer's word, and VMClock's driver accepts nothing but one page.
	pageSize = 4096
)

// layout is a segment in shared memory, in its native words. Version and
// generation are one word, so one load gets both at the same moment; Go has no
// 16-bit atomics, and the original's 16-bit stores into it are harmless.
type layout struct {
	magic   [2]atomic.Uint32
	segsize atomic.Uint32
	vergen  atomic.Uint32 // version in the low half, generation in the high one
	body    [bodyWords]atomic.Uint64
}

const bodyWords = (sizeV3 - headerSize) / 8

// body is a private copy of a segment's body.
type body [bodyWords]uint64

// header is a private copy of the first 16 bytes.
type header struct {
	magic   [2]uint32
	segsize uint32
	vergen  uint32
}

func parseHeader(b []byte) header {
	return header{
		magic:   [2]uint32{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])},
		segsize: binary.LittleEndian.Uint32(b[8:]),
		vergen:  binary.LittleEndian.Uint32(b[12:]),
	}
}

func joinVergen(version, generation uint16) uint32 {
	return uint32(version) | uint32(generation)<<16
}

func version(vergen uint32) uint16    { return uint16(vergen) }
func generation(vergen uint32) uint16 { return uint16(vergen >> 16) }

// whole reports whether a vergen is that of a version 2 record which nobody is
// writing: 2<<16|2, 4<<16|2 and so on.
func whole(vergen uint32) bool {
	return bits.RotateLeft32(vergen-(2<<16|2), -17) < 1<<15-1
}

// isVersion3 knows the two bytes that version 3 keeps in the version field:
// the oldest and the newest version whose readers can use the segment.
func isVersion3(v uint16) bool {
	oldest, newest := v&0xff, v>>8
	return oldest == 3 && (newest == 0 || newest >= 3)
}

// check applies the original's tests in the original's order (spec section 3),
// and then the one it lacks: the file must hold what segsize promises, for a
// truncated file reads as zeros up to the end of its page.
func (h header) check(fileSize int64, allowV3 bool) error {
	v := version(h.vergen)
	switch {
	case h.magic != [2]uint32{magic0, magic1}:
		return fmt.Errorf("%w: magic is %08x %08x, not %08x %08x", ErrNotInitialized, h.magic[0], h.magic[1], magic0, magic1)
	case v == 0:
		return fmt.Errorf("%w: version is 0", ErrNotInitialized)
	case generation(h.vergen) == 0:
		return fmt.Errorf("%w: generation is 0", ErrNotInitialized)
	}
	need := uint32(0)
	switch {
	case v == 1:
		// A version 1 reader of the original accepts any layout; only this
		// size is known to be one.
		if h.segsize != sizeV1 {
			return fmt.Errorf("%w: version 1 with a size of %d, not %d", ErrVersionNotSupported, h.segsize, sizeV1)
		}
		need = sizeV1
	case v == 2:
		need = sizeV2
	case isVersion3(v) && allowV3:
		need = sizeV3
	case isVersion3(v):
		return ErrVersion3
	default:
		return fmt.Errorf("%w: version %d", ErrVersionNotSupported, v)
	}
	switch {
	case h.segsize < need:
		return malformed("version %d needs %d bytes, segment size is %d", v, need, h.segsize)
	case int64(h.segsize) > fileSize:
		return malformed("segment size is %d, the file has %d bytes", h.segsize, fileSize)
	}
	return nil
}

// decode validates a consistent body of the version in vergen.
func (b *body) decode(vergen uint32, c *ClockErrorBound) error {
	v := version(vergen)
	if isVersion3(v) {
		return b.decodeV3(vergen, c)
	}
	r := ClockErrorBound{
		AsOf:       Timespec{int64(b[0]), int64(b[1])},
		VoidAfter:  Timespec{int64(b[2]), int64(b[3])},
		BoundNsec:  int64(b[4]),
		Version:    v,
		Generation: generation(vergen),
	}
	if v == 1 {
		r.MaxDriftPPB, r.Status = uint32(b[5]), Status(uint32(b[6]))
		if r.Status == Disrupted {
			return malformed("clock status 3 does not exist in version 1")
		}
	} else {
		r.DisruptionMarker = b[5]
		r.MaxDriftPPB, r.Status = uint32(b[6]), Status(b[6]>>32)
		if err := r.setSupport(b[7]); err != nil {
			return err
		}
	}
	if err := r.check(); err != nil {
		return err
	}
	*c = r
	return nil
}

// decodeV3 follows the published layout, which nobody has compared with a real
// segment: as_of_tsc and the two period fields are skipped.
func (b *body) decodeV3(vergen uint32, c *ClockErrorBound) error {
	r := ClockErrorBound{
		AsOf:             Timespec{int64(b[1]), int64(b[2])},
		VoidAfter:        Timespec{int64(b[3]), int64(b[4])},
		BoundNsec:        int64(b[7]),
		DisruptionMarker: b[8],
		MaxDriftPPB:      uint32(b[9]),
		Status:           Status(b[9] >> 32),
		Version:          version(vergen),
		Generation:       generation(vergen),
	}
	if err := r.setSupport(b[10]); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	*c = r
	return nil
}

// setSupport takes the flag from the word it shares with the padding, which
// may hold anything.
func (c *ClockErrorBound) setSupport(word uint64) error {
	b := byte(word)
	if b > 1 {
		return malformed("clock disruption flag is %d, not 0 or 1", b)
	}
	c.DisruptionSupport = b == 1
	return nil
}

// encode is the version 2 body of c.
func (c *ClockErrorBound) encode() [(sizeV2 - headerSize) / 8]uint64 {
	return [...]uint64{
		uint64(c.AsOf.Sec), uint64(c.AsOf.Nsec),
		uint64(c.VoidAfter.Sec), uint64(c.VoidAfter.Nsec),
		uint64(c.BoundNsec),
		c.DisruptionMarker,
		uint64(c.MaxDriftPPB) | uint64(uint32(c.Status))<<32,
		uint64(flag(c.DisruptionSupport)),
	}
}

// parseBody copies as much of a body as b has.
func parseBody(b []byte) body {
	var words body
	var image [sizeV3]byte
	copy(image[:], b)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(image[headerSize+8*i:])
	}
	return words
}
