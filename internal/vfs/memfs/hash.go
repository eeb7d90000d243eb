package memfs

import (
	"encoding/binary"
	"hash/maphash"
)

// Hash returns a hash of every name and of all that reads see, so that an
// explorer can tell states apart that it has not seen yet. What is allocated
// and what is pending does not count.
func (m *FS) Hash(seed maphash.Seed) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(seed)
	m.root.hash(&h)
	return h.Sum64()
}

func (d *dir) hash(h *maphash.Hash) {
	var b [8]byte
	for _, e := range d.cur {
		h.WriteString(e.name)
		switch n := e.node.(type) {
		case *dir:
			h.WriteByte(1)
			n.hash(h)
		case *inode:
			binary.LittleEndian.PutUint64(b[:], uint64(n.cur.size))
			h.WriteByte(2)
			h.Write(b[:])
			n.cur.hash(h)
		}
	}
	h.WriteByte(0)
}

var zeros [chunkSize]byte

// hash skips chunks of zeros: whether they are there makes no difference to
// a reader.
func (c *content) hash(h *maphash.Hash) {
	for i, chunk := range c.chunks {
		if int64(i)*chunkSize >= c.size {
			return
		}
		if chunk == nil || chunk == reserved || chunk.b == zeros {
			continue
		}
		h.WriteByte(byte(i))
		h.WriteByte(byte(i >> 8))
		h.Write(chunk.b[:])
	}
}
