package memfs

import (
	"io/fs"
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
	failed  bool   // a failed Sync made it clean
}

// inode is a file, whatever its name.
type inode struct {
	name    string // under which it was last known
	perm    fs.FileMode
	cur     content // what reads see
	durable content // what the medium is sure to hold where no pending op says otherwise
	pending []op    // between durable and cur, in order
	linked  bool    // has a name
	opens   int
	locks   map[int64]*holders
}

func (in *inode) add(o op) {
	o.size = in.cur.size
	in.pending = append(in.pending, o)
}

func (in *inode) anyFailed() bool {
	return slices.ContainsFunc(in.pending, func(o op) bool { return o.failed })
}

func (in *inode) write(seq uint64, p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	before, end := in.cur.size, off+int64(len(p))
	in.cur.writeAt(p, off)
	in.add(op{kind: opWrite, seq: seq, off: off, n: int64(len(p)), bytes: slices.Clone(p),
		resized: end > before || end > in.leastSize()})
}

// leastSize is the smallest size that failed syncs may have left on the
// medium. A Sync that covers a write beyond it has to write the size too.
func (in *inode) leastSize() int64 {
	least := in.cur.size
	for _, o := range in.pending {
		if o.failed && o.resized {
			least = min(least, o.size, in.durable.size)
		}
	}
	return least
}

func (in *inode) truncate(seq uint64, size int64) {
	in.cur.truncate(size)
	in.add(op{kind: opTruncate, seq: seq, off: size, resized: true})
}

func (in *inode) allocate(seq uint64, off, n int64) {
	in.cur.allocate(off, n)
	in.add(op{kind: opAllocate, seq: seq, off: off, n: n})
}

func (in *inode) sync() {
	if !in.anyFailed() {
		in.durable, in.pending = in.cur.share(), nil
		return
	}
	in.syncAfterFailure()
}

func (in *inode) failSync() {
	failed := slices.Clone(in.pending)
	for i := range failed {
		failed[i].failed = true
	}
	in.pending = failed
}

// syncAfterFailure makes durable the sectors that were written since the
// failure, and the size if it was set since. The rest stays as the failed Sync
// left it: pending for ever.
func (in *inode) syncAfterFailure() {
	rewritten := map[int64]bool{}
	sized := false
	d := in.durable.share()
	for _, o := range in.pending {
		if o.failed {
			continue
		}
		sized = sized || o.resized
		switch o.kind {
		case opTruncate:
			d.truncate(o.off)
		case opAllocate:
			d.allocate(o.off, o.n)
		case opWrite:
			for s := o.off / SectorSize; s*SectorSize < o.off+o.n; s++ {
				rewritten[s] = true
			}
		}
	}
	if sized {
		d.resize(in.cur.size)
	}
	var sector [SectorSize]byte
	for s := range rewritten {
		in.cur.readAt(sector[:], s*SectorSize)
		d.overwrite(sector[:], s*SectorSize)
	}

	var left []op
	for i, o := range in.pending {
		if !o.failed {
			continue
		}
		cut := in.cutAfter(i)
		if sized {
			cut = min(cut, d.size) // what lies beyond can never be seen
		}
		switch o.kind {
		case opTruncate:
			if sized {
				// The size is settled; whether the medium has the zeros is not.
				zeros := max(0, d.size-o.off)
				o = op{kind: opWrite, seq: o.seq, off: o.off, n: zeros, bytes: make([]byte, zeros), size: d.size, failed: true}
				left = append(left, o.without(rewritten, d.size, cut)...)
			} else {
				left = append(left, o)
			}
		case opAllocate:
			left = append(left, o)
		case opWrite:
			if o.resized && !sized {
				// The size outlives the bytes that set it.
				left = append(left, op{kind: opWrite, seq: o.seq, size: o.size, resized: true, failed: true})
			}
			o.resized = false
			left = append(left, o.without(rewritten, d.size, cut)...)
		}
	}
	in.durable, in.pending = d, left
}

// cutAfter returns the smallest size that a truncation behind pending op i set
// and that is now durable.
func (in *inode) cutAfter(i int) int64 {
	cut := int64(1<<63 - 1)
	for _, o := range in.pending[i:] {
		if o.kind == opTruncate && !o.failed {
			cut = min(cut, o.off)
		}
	}
	return cut
}

// without returns what is left of a write when some sectors of a file of the
// given size, and everything from cut on, are taken out of it.
func (o op) without(sectors map[int64]bool, size, cut int64) []op {
	var left []op
	for off := o.off; off < min(o.off+o.n, cut); {
		end := min((off/SectorSize+1)*SectorSize, o.off+o.n, cut)
		if off < size {
			end = min(end, size)
		}
		if off >= size || !sectors[off/SectorSize] {
			part := o
			part.off, part.n = off, end-off
			part.bytes = o.bytes[off-o.off : end-o.off]
			left = append(left, part)
		}
		off = end
	}
	return left
}

// clone returns the inode as a process finds it that starts after another died.
func (in *inode) clone() *inode {
	in.pending = slices.Clip(in.pending) // the next op of either goes to an array of its own
	return &inode{name: in.name, perm: in.perm, cur: in.cur.share(), durable: in.durable.share(), pending: in.pending, linked: in.linked}
}
