package checksum

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

func TestPairIsSum128OfItsBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	edges := []uint64{0, 1, 1 << 63, math.MaxUint64}
	for i := range 10000 {
		a, b := r.Uint64(), r.Uint64()
		if i < 16 {
			a, b = edges[i/4], edges[i%4]
		}
		bytes := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, a), b)
		wantHi, wantLo := Sum128(bytes)
		if hi, lo := Pair(a, b); hi != wantHi || lo != wantLo {
			t.Fatalf("Pair(%#x, %#x) = %#x %#x, Sum128 %#x %#x", a, b, hi, lo, wantHi, wantLo)
		}
	}
}

func BenchmarkPair(b *testing.B) {
	var sum uint64
	for i := uint64(0); b.Loop(); i++ {
		h, _ := Pair(i, sum)
		sum += h
	}
}
