package memfs

import "encoding/binary"

// content decides what of a file is on the medium.
func (c *crasher) content(in *inode) content {
	left := c.kept(in)
	if c.Journal {
		in.stuck.clear(&left)
	}
	return left
}

// kept is content before the units that are stuck.
func (c *crasher) kept(in *inode) content {
	if len(in.pending) == 0 && len(in.undefined) == 0 {
		return in.durable.share()
	}
	size, sized := c.length(in)
	// kept tells whether a truncation took place on the medium.
	kept := func(o op) bool { return o.kind == opTruncate && o.seq <= sized }

	left := in.durable.share()
	var sectors []int64                     // in doubt, each once
	versions := map[int64][]func() []byte{} // of each, without the durable one
	doubt := func(s int64, version func() []byte) {
		if versions[s] == nil {
			sectors = append(sectors, s)
		}
		versions[s] = append(versions[s], version)
	}
	before := &in.durable
	for i := range in.undefined {
		u := &in.undefined[i]
		for _, s := range differing(before, &u.content) {
			// Beyond its end there are zeros only if it was cut there.
			if s*SectorSize < u.size || u.seq < sized {
				doubt(s, func() []byte { return in.version(&u.content, s, -1, kept) })
			}
		}
		before = &u.content
	}
	for i, o := range in.pending {
		switch {
		case kept(o):
			left.truncate(o.off)
		case o.kind == opAllocate:
			if c.Decide(Choice{Kind: Allocation, Name: in.name, Off: o.off, Versions: 2}) > 0 {
				left.allocate(o.off, o.n)
			}
		}
		for s := range o.sectors {
			doubt(s, func() []byte { return in.version(in.cached(), s, i, kept) })
		}
	}
	left.resize(size)
	for _, s := range sectors {
		if s*SectorSize >= size {
			continue // beyond the end: no choice makes a difference
		}
		v := c.Decide(Choice{Kind: Sector, Name: in.name, Off: s * SectorSize, Versions: len(versions[s]) + 1})
		switch {
		case v == Garbage:
			left.overwrite(garbage(s), s*SectorSize)
		case v > 0:
			left.overwrite(versions[s][v-1](), s*SectorSize)
		}
	}
	return left
}

// cached returns what the page cache held before the pending operations.
func (in *inode) cached() *content {
	if n := len(in.undefined); n > 0 {
		return &in.undefined[n-1].content
	}
	return &in.durable
}

// length decides which length a file has, and returns with it the number of
// the change that set it: truncations up to that one took place.
func (c *crasher) length(in *inode) (size int64, sized uint64) {
	size = in.durable.size
	sizes, seqs := []int64{size}, []uint64{0}
	for i := range in.undefined {
		sizes, seqs = append(sizes, in.undefined[i].size), append(seqs, in.undefined[i].seq)
	}
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

// version returns sector s as it was in base, changed by the pending operations
// up to number last, with the later truncations that took place on the medium.
func (in *inode) version(base *content, s int64, last int, kept func(op) bool) []byte {
	b := make([]byte, SectorSize)
	start := s * SectorSize
	base.readAt(b, start)
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
