package ringload

import (
	"encoding/hex"
	"fmt"
	"testing"
)

// The figures are those of the specification's generator.json.
func TestGenerator(t *testing.T) {
	g := New(1, 0, 0)
	for i, want := range []uint64{0x910a2dec89025cc1, 0xbeeb8da1658eec67, 0xf893a2eefb32555e, 0x71c18690ee42c90b} {
		if got := g.draw(); got != want {
			t.Errorf("draw %d = %#x, want %#x", i, got, want)
		}
	}
	g = New(7, 1, 16)
	for i, want := range []string{"1c663cf4d73c4c04", "cb293e", "11aabecb86beda3ff6d0c2", "616750997ac05e226953798876a2c3", "2c63dd28b74ebaf54eb3454a", "e6"} {
		if got := hex.EncodeToString(g.Next()); got != want {
			t.Errorf("message %d = %s, want %s", i, got, want)
		}
	}
}

func TestDigest(t *testing.T) {
	for _, tt := range []struct {
		seed             uint64
		lo, hi, messages int
		bytes            int64
		sum              string
	}{
		{7, 1, 16, 6, 50, "7a1f76882bec9940"},
		{1, 1, 256, 1000, 130062, "95c1db9af46cc616"},
		{7, 1, 4096, 2000, 4029493, "3516cd46fb7b3f13"},
		{9, 1, 20000, 200, 2017575, "cec688c932f54dff"},
	} {
		g, d := New(tt.seed, tt.lo, tt.hi), NewDigest()
		for range tt.messages {
			m := g.Next()
			d.Add(m[:len(m)/2], m[len(m)/2:])
		}
		if got := fmt.Sprintf("%016x", d.Sum64()); got != tt.sum || d.Bytes != tt.bytes || d.Messages != tt.messages {
			t.Errorf("seed %d sizes %d..%d: %d messages, %d bytes, %s; want %d, %d, %s", tt.seed, tt.lo, tt.hi, d.Messages, d.Bytes, got, tt.messages, tt.bytes, tt.sum)
		}
	}
}
