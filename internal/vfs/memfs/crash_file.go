package memfs

import "encoding/binary"

// content decides what of a file is on the medium.
func (c *crasher) content(in *inode) content {
	if len(in.pending) == 0 {
		return in.durable.share()
	}
	size, sized := c.length(in)
	// kept tells whether a truncation took place on the medium.
	kept := func(o op) bool { return o.kind == opTruncate && o.seq <= sized }

	left := in.durable.share()
	var sectors []int64
	writes := map[int64][]int{} // pending writes, by sector
	for i, o := range in.pending {
		switch {
		case kept(o):
			left.truncate(o.off)
		case o.kind == opAllocate:
			if c.Decide(Choice{Kind: Allocation, Name: in.name, Off: o.off, Versions: 2}) > 0 {
				left.allocate(o.off, o.n)
			}
		case o.kind == opWrite:
			for s := o.off / SectorSize; s*SectorSize < o.off+o.n; s++ {
				if writes[s] == nil {
					sectors = append(sectors, s)
				}
				writes[s] = append(writes[s], i)
			}
		}
	}
	left.resize(size)
	for _, s := range sectors {
		if s*SectorSize >= size {
			continue // beyond the end: no choice makes a difference
		}
		v := c.Decide(Choice{Kind: Sector, Name: in.name, Off: s * SectorSize, Versions: len(writes[s]) + 1})
		switch {
		case v == Garbage:
			left.overwrite(garbage(s), s*SectorSize)
		case v > 0:
			left.overwrite(in.version(s, writes[s][v-1], kept), s*SectorSize)
		}
	}
	return left
}

// length decides which length a file has, and returns with it the number of
// the change that set it: truncations up to that one took place.
func (c *crasher) length(in *inode) (size int64, sized uint64) {
	size = in.durable.size
	sizes, seqs := []int64{size}, []uint64{0}
	for _, o := range in.pending {
		switch {
		case !o.resized:
		case c.Journal && o.kind == opTruncate && o.seq > c.cut:
			// The journal ends before it, and whatever length came later.
			return c.chooseLength(in, sizes, seqs)
		case c.Journal && o.kind == opTruncate:
			sizes, seqs = []int64{o.size}, []uint64{o.seq}
		default:
			sizes, seqs = append(sizes, o.size), append(seqs, o.seq)
		}
	}
	return c.chooseLength(in, sizes, seqs)
}

func (c *crasher) chooseLength(in *inode, sizes []int64, seqs []uint64) (size int64, sized uint64) {
	v := 0
	if len(sizes) > 1 {
		v = c.Decide(Choice{Kind: Length, Name: in.name, Versions: len(sizes)})
	}
	return sizes[v], seqs[v]
}

// version returns sector s as the page cache held it after pending op last,
// with the later truncations that took place on the medium.
func (in *inode) version(s int64, last int, kept func(op) bool) []byte {
	b := make([]byte, SectorSize)
	start := s * SectorSize
	in.durable.readAt(b, start)
	for i, o := range in.pending {
		switch {
		case o.kind == opTruncate && (i < last || kept(o)):
			if from := o.off - start; from < SectorSize {
				clear(b[max(0, from):])
			}
		case o.kind == opWrite && i <= last:
			if at := o.off - start; at >= SectorSize || at+o.n <= 0 {
				continue
			} else if at >= 0 {
				copy(b[at:], o.bytes)
			} else {
				copy(b, o.bytes[-at:])
			}
		}
	}
	return b
}

// garbage returns bytes that nobody wrote, the same for the same sector.
func garbage(s int64) []byte {
	b := make([]byte, 0, SectorSize)
	for x := uint64(s) + 1; len(b) < SectorSize; {
		x = x*6364136223846793005 + 1442695040888963407
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}
