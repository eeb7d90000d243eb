package memfs

import (
	"io/fs"
	"maps"
	"math"
	"slices"
)

type opKind uint8

const (
	opWrite opKind = iota
	opTruncate
	opAllocate
)

// op is a change of one file that is not durable. It never changes once it is
// in a list, because clones share it.
type op struct {
	kind    opKind
	seq     uint64
	off, n  int64  // truncate: off is the new size
	bytes   []byte // write: a copy
	size    int64  // of the file afterwards
	resized bool   // Sync will write the size because of this op
}

// inode is a file, whatever its name.
type inode struct {
	name    string // under which it was last known
	perm    fs.FileMode
	cur     content // what reads see
	durable content // what the medium holds for certain, but for the two below
	// undefined is what reads saw at each failed Sync: of any sector and of
	// the size the medium may hold one of these instead. They count as
	// clean: no Sync writes them.
	undefined []snapshot
	pending   []op // between the newest of the above and cur, in order
	stuck     stuck
	linked    bool // has a name
	opens     int
	locks     map[int64]*holders
}

// snapshot is a content and the number of the last change before it was taken.
type snapshot struct {
	content
	seq uint64
}

func (in *inode) add(o op) {
	o.size = in.cur.size
	in.pending = append(in.pending, o)
}

func (in *inode) write(seq uint64, p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	// A Sync that covers a write beyond any size that the medium may have
	// writes the size too.
	least := min(in.cur.size, in.durable.size)
	for i := range in.undefined {
		least = min(least, in.undefined[i].size)
	}
	before, end := in.cur.size, off+int64(len(p))
	in.cur.writeAt(p, off)
	in.add(op{kind: opWrite, seq: seq, off: off, n: int64(len(p)), bytes: slices.Clone(p),
		resized: end > before || end > least && len(in.undefined) > 0})
}

func (in *inode) truncate(seq uint64, size int64) {
	in.cur.truncate(size)
	in.stuck.free((size+unit-1)/unit, math.MaxInt64)
	in.add(op{kind: opTruncate, seq: seq, off: size, resized: true})
}

func (in *inode) allocate(seq uint64, off, n int64) {
	in.cur.allocate(off, n)
	in.add(op{kind: opAllocate, seq: seq, off: off, n: n})
}

// renew is an allocation and a write of zeros.
func (in *inode) renew(seq uint64, off, n int64) {
	in.allocate(seq, off, n)
	if end := min(off+n, in.cur.size); off < end {
		in.write(seq, make([]byte, end-off), off)
	}
	in.stuck.free((off+unit-1)/unit, (off+n)/unit)
}

func (in *inode) sync() {
	if len(in.undefined) == 0 {
		in.durable, in.pending = in.cur.share(), nil
		return
	}
	in.settle(&in.durable)
	for i := range in.undefined {
		in.settle(&in.undefined[i].content)
	}
	in.pending = nil
	if !slices.ContainsFunc(in.undefined, func(u snapshot) bool {
		return u.size != in.durable.size || len(differing(&u.content, &in.durable)) > 0
	}) {
		in.undefined = nil // healed
	}
}

// failSync makes the pending operations count as clean.
func (in *inode) failSync(seq uint64) {
	for _, o := range in.pending {
		if o.kind == opWrite {
			in.stuck.add(&in.durable, o.off, o.n)
		}
	}
	if len(in.pending) > 0 {
		in.undefined, in.pending = append(in.undefined, snapshot{in.cur.share(), seq}), nil
	}
}

// settle brings into c what a successful Sync writes: the sectors that were
// written since the last failed one, and the size if it was set since.
func (in *inode) settle(c *content) {
	sized := false
	for _, o := range in.pending {
		sized = sized || o.resized
		switch o.kind {
		case opTruncate:
			c.truncate(o.off)
		case opAllocate:
			c.allocate(o.off, o.n)
		}
	}
	if sized {
		c.resize(in.cur.size)
	}
	var sector [SectorSize]byte
	for _, o := range in.pending {
		for s := range o.sectors {
			in.cur.readAt(sector[:], s*SectorSize)
			c.overwrite(sector[:], s*SectorSize)
		}
	}
}

// sectors yields the number of each sector that a write touches.
func (o op) sectors(yield func(int64) bool) {
	if o.kind != opWrite {
		return
	}
	for s := o.off / SectorSize; s*SectorSize < o.off+o.n && yield(s); s++ {
	}
}

// clone returns the inode as a process finds it that starts after another died.
func (in *inode) clone() *inode {
	in.pending = slices.Clip(in.pending) // the next op of either goes to an array of its own
	fresh := &inode{name: in.name, perm: in.perm, cur: in.cur.share(), durable: in.durable.share(), pending: in.pending, stuck: maps.Clone(in.stuck), linked: in.linked}
	for i := range in.undefined {
		u := &in.undefined[i]
		fresh.undefined = append(fresh.undefined, snapshot{u.share(), u.seq})
	}
	return fresh
}
