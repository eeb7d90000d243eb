package checksum

import "math/bits"

// The constants of x64_128.
const (
	mul1  = 0x87c37b91114253d5
	mul2  = 0x4cf5ad432745937f
	add1  = 0x52dce729
	add2  = 0x38495ab5
	last1 = 0xff51afd7ed558ccd
	last2 = 0xc4ceb9fe1a85ec53
)

// Pair is Sum128 over the sixteen bytes of two little-endian words: one block
// of the hash and no rest. The digest of a table takes one for each page, which
// through the streaming interface costs ten times as much.
func Pair(a, b uint64) (uint64, uint64) {
	const length = 16
	h1 := uint64(Seed) ^ bits.RotateLeft64(a*mul1, 31)*mul2
	h1 = (bits.RotateLeft64(h1, 27)+Seed)*5 + add1
	h2 := uint64(Seed) ^ bits.RotateLeft64(b*mul2, 33)*mul1
	h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + add2

	h1, h2 = h1^length, h2^length
	h1 += h2
	h2 += h1
	h1, h2 = finish(h1), finish(h2)
	h1 += h2
	h2 += h1
	return h1, h2
}

// finish makes every bit of h depend on every other.
func finish(h uint64) uint64 {
	h = (h ^ h>>33) * last1
	h = (h ^ h>>33) * last2
	return h ^ h>>33
}
