package memfs

import (
	"io"
	"slices"
	"sync/atomic"
)

// chunkSize is the unit of allocation and of sharing between clones.
const chunkSize = 4096

// SectorSize is the unit that a power cut keeps or loses as a whole.
const SectorSize = 512

// chunk holds bytes that only the content with the same owner may change.
type chunk struct {
	owner uint64
	b     [chunkSize]byte
}

// reserved stands for chunks that are allocated and were never written.
var reserved = new(chunk)

var lastOwner atomic.Uint64

// content is the bytes of a file. Holes are nil chunks; there may be allocated
// chunks beyond the size. Bytes between the size and the end of its chunk are
// always zero.
type content struct {
	owner  uint64 // of chunks that may be changed in place; 0: none yet
	shared bool   // another content has the same slice of chunks
	chunks []*chunk
	size   int64
	blocks int64 // chunks that are not holes
}

// share returns the same content a second time, in constant time.
func (c *content) share() content {
	c.owner, c.shared = 0, true
	return *c
}

// own makes the slice of chunks c's own, at least n long.
func (c *content) own(n int) {
	if c.shared || c.owner == 0 {
		c.chunks = slices.Clone(c.chunks)
		c.owner, c.shared = lastOwner.Add(1), false
	}
	if more := n - len(c.chunks); more > 0 {
		c.chunks = append(c.chunks, make([]*chunk, more)...)
	}
}

// chunksFor returns how many chunks n bytes take.
func chunksFor(n int64) int { return int((n + chunkSize - 1) / chunkSize) }

// holes returns how many chunks of [off, off+n) are not allocated.
func (c *content) holes(off, n int64) int64 {
	if n == 0 {
		return 0
	}
	var count int64
	for i := int(off / chunkSize); i < chunksFor(off+n); i++ {
		if i >= len(c.chunks) || c.chunks[i] == nil {
			count++
		}
	}
	return count
}

// writable returns chunk i, private to c.
func (c *content) writable(i int) *chunk {
	c.own(i + 1)
	old := c.chunks[i]
	if old != nil && old.owner == c.owner {
		return old
	}
	fresh := &chunk{owner: c.owner}
	if old == nil {
		c.blocks++
	} else {
		fresh.b = old.b
	}
	c.chunks[i] = fresh
	return fresh
}

// writeAt stores p at off and grows the size if need be.
func (c *content) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c.size = max(c.size, off+int64(len(p)))
	for len(p) > 0 {
		n := copy(c.writable(int(off / chunkSize)).b[off%chunkSize:], p)
		p, off = p[n:], off+int64(n)
	}
}

// readAt fills p with what is at off. The caller keeps to the size.
func (c *content) readAt(p []byte, off int64) {
	for len(p) > 0 {
		n := min(len(p), chunkSize-int(off%chunkSize))
		if i := int(off / chunkSize); i < len(c.chunks) && c.chunks[i] != nil {
			copy(p[:n], c.chunks[i].b[off%chunkSize:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// nextData returns the first offset from off on that lies in a chunk that was
// written, or the size.
func (c *content) nextData(off int64) int64 {
	for ; off < c.size; off = (off/chunkSize + 1) * chunkSize {
		if i := int(off / chunkSize); i < len(c.chunks) && c.chunks[i] != nil && c.chunks[i] != reserved {
			return off
		}
	}
	return c.size
}

// truncate sets the size. A file that does not grow loses what was allocated
// beyond its end, as on the file systems of Linux.
func (c *content) truncate(size int64) {
	if size > c.size {
		c.size = size
		return
	}
	c.size = size
	keep := chunksFor(size)
	if keep < len(c.chunks) {
		c.own(0)
		for _, cut := range c.chunks[keep:] {
			if cut != nil {
				c.blocks--
			}
		}
		clear(c.chunks[keep:])
		c.chunks = c.chunks[:keep]
	}
	if tail := int(size % chunkSize); tail != 0 && keep == len(c.chunks) && c.chunks[keep-1] != nil {
		clear(c.writable(keep - 1).b[tail:])
	}
}

// resize is truncate, except that it frees nothing if the size is right.
func (c *content) resize(size int64) {
	if size != c.size {
		c.truncate(size)
	}
}

// overwrite stores what of p lies below the size.
func (c *content) overwrite(p []byte, off int64) {
	c.writeAt(p[:min(int64(len(p)), max(0, c.size-off))], off)
}

// allocate reserves the holes of [off, off+n).
func (c *content) allocate(off, n int64) {
	c.own(chunksFor(off + n))
	for i := int(off / chunkSize); i < chunksFor(off+n); i++ {
		if c.chunks[i] == nil {
			c.chunks[i] = reserved
			c.blocks++
		}
	}
}

// differing returns the numbers of the sectors in which two contents differ.
// Chunks that they share cost no comparison.
func differing(a, b *content) []int64 {
	var sectors []int64
	var x, y [SectorSize]byte
	for i := range max(len(a.chunks), len(b.chunks)) {
		if i < len(a.chunks) && i < len(b.chunks) && a.chunks[i] == b.chunks[i] {
			continue
		}
		for off := int64(i) * chunkSize; off < int64(i+1)*chunkSize; off += SectorSize {
			a.readAt(x[:], off)
			b.readAt(y[:], off)
			if x != y {
				sectors = append(sectors, off/SectorSize)
			}
		}
	}
	return sectors
}

// ReadAt is io.ReaderAt: it ends at the size.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(0, c.size-off)))
	c.readAt(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
