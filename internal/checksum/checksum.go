// Package checksum is MurmurHash3 as the formats here use it: the x64_128
// variant cut to its first 64 bits for our own files, x86_32 for vere's, both
// with the seed 0xcafebabe (../../docs/format.md).
//
// Only the streaming interface of the murmur3 module is used: its one-shot
// functions do pointer arithmetic that the race detector's checks refuse.
package checksum

import (
	"hash"
	"sync"

	"github.com/spaolacci/murmur3"
)

// Seed is the seed of every hash in every format here.
const Seed = 0xcafebabe

var (
	pool128 = sync.Pool{New: func() any { return murmur3.New128WithSeed(Seed) }}
	pool32  = sync.Pool{New: func() any { return murmur3.New32WithSeed(Seed) }}
)

// Sum64 returns the first 64 bits of x64_128 over b. It does not allocate and
// is safe for concurrent use.
func Sum64(b []byte) uint64 {
	h, _ := Sum128(b)
	return h
}

// Sum128 returns both halves of x64_128 over b.
func Sum128(b []byte) (uint64, uint64) {
	h := pool128.Get().(murmur3.Hash128)
	h.Reset()
	write(h, b)
	hi, lo := h.Sum128()
	pool128.Put(h)
	return hi, lo
}

// Sum32 returns x86_32 over b: vere's checksum of pages and headers.
func Sum32(b []byte) uint32 {
	h := pool32.Get().(hash.Hash32)
	h.Reset()
	write(h, b)
	sum := h.Sum32()
	pool32.Put(h)
	return sum
}

func write(h hash.Hash, b []byte) {
	// A hash.Hash never returns an error (package hash).
	_, _ = h.Write(b)
}
