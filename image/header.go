package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"loomstore/patch"
)

const headerMagic = "LOOMSUM\x00"

// Offsets in a header block; the table is in the package doc.
const (
	hdrVersion  = 8
	hdrPageSize = 12
	hdrStore    = 16
	hdrEpoch    = 32
	hdrPages    = 40
	hdrLow      = 48
	hdrDigest   = 56
	hdrFlags    = 72
	hdrAppLen   = 76
	hdrApp      = 80
	hdrEnd      = hdrApp + patch.MaxAppRecord

	flagClean = 1

	tableOffset = 2 * patch.BlockSize
	entrySize   = 8
)

// marshalHeader returns the block of h.
func marshalHeader(h *patch.Header, g patch.Geometry) []byte {
	b := make([]byte, patch.BlockSize)
	le := binary.LittleEndian
	copy(b, headerMagic)
	le.PutUint32(b[hdrVersion:], 1)
	le.PutUint32(b[hdrPageSize:], uint32(g.PageSize))
	copy(b[hdrStore:], h.Store[:])
	le.PutUint64(b[hdrEpoch:], h.Epoch)
	le.PutUint64(b[hdrPages:], uint64(h.Pages))
	le.PutUint64(b[hdrLow:], uint64(h.Low))
	le.PutUint64(b[hdrDigest:], h.Digest.Hi)
	le.PutUint64(b[hdrDigest+8:], h.Digest.Lo)
	if h.Clean {
		le.PutUint32(b[hdrFlags:], flagClean)
	}
	le.PutUint32(b[hdrAppLen:], uint32(len(h.App)))
	copy(b[hdrApp:], h.App)
	patch.SealBlock(b)
	return b
}

// UnmarshalHeader decodes one header block of sums.bin.
func UnmarshalHeader(b []byte, g patch.Geometry) (*patch.Header, error) {
	if err := patch.OpenBlock(b, headerMagic, hdrEnd); err != nil {
		return nil, err
	}
	if err := patch.CheckVersion(b, g); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	appLen, flags := le.Uint32(b[hdrAppLen:]), le.Uint32(b[hdrFlags:])
	if appLen > patch.MaxAppRecord || flags&^flagClean != 0 {
		return nil, fmt.Errorf("application record of %d bytes, flags %#x", appLen, flags)
	}
	pages, low := le.Uint64(b[hdrPages:]), le.Uint64(b[hdrLow:])
	if low > 1<<62 || (low+uint64(g.PageSize)-1)/uint64(g.PageSize) != pages {
		return nil, fmt.Errorf("low watermark %d for %d pages", low, pages)
	}
	return &patch.Header{
		Store:  patch.UUID(b[hdrStore : hdrStore+16]),
		Epoch:  le.Uint64(b[hdrEpoch:]),
		Pages:  int(pages),
		Low:    int64(low),
		Digest: patch.Digest{Hi: le.Uint64(b[hdrDigest:]), Lo: le.Uint64(b[hdrDigest+8:])},
		Clean:  flags&flagClean != 0,
		App:    bytes.Clone(b[hdrApp : hdrApp+int(appLen)]),
	}, nil
}

// headers is what the two slots of sums.bin hold.
type headers struct {
	newest *patch.Header // valid slot with the highest epoch, nil if none
	blank  bool          // nothing but zeros in both slots
}

// readHeaders decodes both slots. Slots that do not decode are not errors; a
// whole one of another version or page size is patch.ErrMismatch.
func readHeaders(r io.ReaderAt, size int64, g patch.Geometry) (headers, error) {
	b := make([]byte, tableOffset)
	n := min(size, tableOffset)
	if _, err := r.ReadAt(b[:n], 0); err != nil && n > 0 {
		return headers{}, fmt.Errorf("read the headers of %s: %w", patch.SumsFile, err)
	}
	hs := headers{blank: true}
	for i := range 2 {
		block := b[i*patch.BlockSize : (i+1)*patch.BlockSize]
		hs.blank = hs.blank && bytes.Count(block, []byte{0}) == len(block)
		h, err := UnmarshalHeader(block, g)
		if errors.Is(err, patch.ErrMismatch) {
			return headers{}, &patch.Defect{Class: patch.ErrMismatch, File: patch.SumsFile, Page: -1,
				Offset: int64(i * patch.BlockSize), Reason: err.Error()}
		}
		if h != nil && h.Epoch&1 == uint64(i) && (hs.newest == nil || h.Epoch > hs.newest.Epoch) {
			hs.newest = h
		}
	}
	return hs, nil
}

// headerOffset is where the header of epoch lies in sums.bin.
func headerOffset(epoch uint64) int64 { return int64(epoch&1) * patch.BlockSize }

// sumsLen is the length of sums.bin for an image of pages pages.
func sumsLen(pages int) int64 { return tableOffset + int64(pages)*entrySize }
