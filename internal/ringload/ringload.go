// Package ringload makes the message streams that rings are tested with, and
// their digest (demikernel spec, section 5): a stream is told by a seed and a
// range of sizes, so that both ends of a ring, in any language, know it.
//
// It does not send anything.
package ringload

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
)

// Generator makes one stream. It belongs to one goroutine.
type Generator struct {
	state  uint64
	lo, hi int
	buf    []byte
}

// New returns the stream of seed with messages of lo to hi bytes, which must
// be 0 <= lo <= hi.
func New(seed uint64, lo, hi int) *Generator {
	return &Generator{state: seed, lo: lo, hi: hi, buf: make([]byte, (hi+7)&^7)}
}

// draw is splitmix64.
func (g *Generator) draw() uint64 {
	g.state += 0x9e3779b97f4a7c15
	z := g.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Next returns the next message, which lives until the call after this one.
func (g *Generator) Next() []byte {
	n := g.lo + int(g.draw()%uint64(g.hi-g.lo+1))
	for at := 0; at < n; at += 8 {
		binary.LittleEndian.PutUint64(g.buf[at:], g.draw())
	}
	return g.buf[:n]
}

// Digest is FNV-1a 64 over each message's u32 length and bytes.
type Digest struct {
	hash     hash.Hash64
	Messages int
	Bytes    int64
}

// NewDigest returns the digest of no messages.
func NewDigest() *Digest { return &Digest{hash: fnv.New64a()} }

// Add takes one message in, in parts if it comes so.
func (d *Digest) Add(parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	d.hash.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
	for _, p := range parts {
		d.hash.Write(p)
	}
	d.Messages++
	d.Bytes += int64(n)
}

// Sum64 returns the digest of what was added.
func (d *Digest) Sum64() uint64 { return d.hash.Sum64() }
