package image

import (
	"bytes"
	"encoding/binary"
	"testing"

	"loomstore/patch"
)

// The offsets are those of the table in docs/format.md.
func TestHeaderOffsets(t *testing.T) {
	g := patch.Geometry{PageSize: 256}
	h := &patch.Header{Store: patch.UUID{0xaa}, Epoch: 0x12, Pages: 0x14, Low: 0x14 * 256, Digest: patch.Digest{Hi: 0x15, Lo: 0x16}, Clean: true, App: []byte{0xbb, 0xcc}}
	b := marshalHeader(h, g)
	for off, want := range map[int]byte{0: 'L', 4: 'S', 8: 1, 13: 1, 16: 0xaa, 32: 0x12, 40: 0x14, 49: 0x14, 56: 0x15, 64: 0x16, 72: 1, 76: 2, 80: 0xbb, 81: 0xcc, 1104: 0} {
		if b[off] != want {
			t.Errorf("byte %d is %#x, want %#x", off, b[off], want)
		}
	}
	got, err := UnmarshalHeader(b, g)
	if err != nil || got.Epoch != h.Epoch || got.Digest != h.Digest || !got.Clean || !bytes.Equal(got.App, h.App) {
		t.Fatalf("%+v, %v", got, err)
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := UnmarshalHeader(b, g); err == nil {
			t.Fatalf("bit %d of byte %d flipped, and accepted", bit%8, bit/8)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// A header whose hash is right can still hold what none may (R10).
func TestImpossibleHeadersAreRefused(t *testing.T) {
	g := patch.Geometry{PageSize: 256}
	good := marshalHeader(&patch.Header{Epoch: 1, Pages: 4, Low: 1000}, g)
	for name, edit := range map[string]func([]byte){
		"an unknown flag":              func(b []byte) { b[hdrFlags] = 2 },
		"a watermark above the pages":  func(b []byte) { binary.LittleEndian.PutUint64(b[hdrLow:], 1025) },
		"a watermark with a sign":      func(b []byte) { binary.LittleEndian.PutUint64(b[hdrLow:], 1<<63) },
		"a longer application record":  func(b []byte) { binary.LittleEndian.PutUint32(b[hdrAppLen:], patch.MaxAppRecord+1) },
		"bytes behind the application": func(b []byte) { b[hdrEnd] = 1 },
	} {
		b := bytes.Clone(good)
		edit(b)
		patch.SealBlock(b)
		if h, err := UnmarshalHeader(b, g); err == nil {
			t.Errorf("%s: accepted %+v", name, h)
		}
	}
}

// Each epoch has its slot: a header in the other one was moved there. Of two
// that are where they belong the higher epoch counts.
func TestSlotsOfHeaders(t *testing.T) {
	g := patch.Geometry{PageSize: 256}
	block := func(epoch uint64) []byte { return marshalHeader(&patch.Header{Epoch: epoch}, g) }
	zero := make([]byte, patch.BlockSize)
	for _, c := range []struct {
		slots  [2][]byte
		newest int // -1: none
	}{
		{[2][]byte{block(4), block(3)}, 4},
		{[2][]byte{block(4), block(5)}, 5},
		{[2][]byte{zero, block(5)}, 5},
		{[2][]byte{block(5), zero}, -1},
		{[2][]byte{block(4), block(6)}, 4},
		{[2][]byte{zero, zero}, -1},
	} {
		b := append(bytes.Clone(c.slots[0]), c.slots[1]...)
		hs, err := readHeaders(bytes.NewReader(b), int64(len(b)), g)
		if err != nil {
			t.Fatal(err)
		}
		if got := hs.newest; (got == nil) != (c.newest < 0) || got != nil && got.Epoch != uint64(c.newest) {
			t.Errorf("newest is %+v, want epoch %d", got, c.newest)
		}
	}
}
