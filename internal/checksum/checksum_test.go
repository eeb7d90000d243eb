package checksum

import (
	"bytes"
	"testing"
)

// The vectors are those of vere's own files (spec/vere.md section 2).
func TestSum32(t *testing.T) {
	for _, v := range []struct {
		in   []byte
		want uint32
	}{
		{nil, 0x79ff04e8},
		{[]byte{0}, 0x701bb721},
		{[]byte("loom"), 0xcf3a3abf},
		{[]byte("urbit"), 0xefcfc912},
		{make([]byte, 16384), 0xf9b4b0e0},
		{bytes.Repeat([]byte{0xff}, 16384), 0xcf99e588},
	} {
		if got := Sum32(v.in); got != v.want {
			t.Errorf("Sum32(%d bytes) = %#x, want %#x", len(v.in), got, v.want)
		}
	}
}

func TestSum64IsFirstHalfOfSum128(t *testing.T) {
	b := []byte("a page")
	hi, lo := Sum128(b)
	if Sum64(b) != hi || hi == lo {
		t.Errorf("Sum64 = %#x, Sum128 = %#x %#x", Sum64(b), hi, lo)
	}
}

func BenchmarkSum64Page(b *testing.B) {
	page := make([]byte, 16384)
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		Sum64(page)
	}
}
