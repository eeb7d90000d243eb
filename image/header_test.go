package image

import (
	"bytes"
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
