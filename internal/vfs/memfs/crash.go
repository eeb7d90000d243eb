package memfs

import (
	"math/rand/v2"
	"slices"
)

// Kind is what a power cut decides about.
type Kind uint8

const (
	// Entry: one directory operation is lost (0) or kept (1).
	Entry Kind = iota
	// Journal: how many of the metadata operations that the journal does not
	// hold yet are kept; only under Crash.Journal.
	Journal
	// Length: which length of a file is kept, 0 being the durable one.
	Length
	// Allocation: one Allocate is lost (0) or kept (1).
	Allocation
	// Sector: which version of a sector is kept, 0 being the durable one.
	Sector
)

// Garbage is an answer for a Sector: it was being written at the power cut and
// holds neither the old nor the new.
const Garbage = -1

// Choice is one question of CrashClone.
type Choice struct {
	Kind     Kind
	Name     string // of the file, or the directory entry; "" for Journal
	Off      int64  // of a Sector or an Allocation, in bytes
	Versions int    // 0 is the oldest, Versions-1 the newest; at least 2
}

// Crash says what a power cut leaves of what was not durable.
type Crash struct {
	// Decide answers with a version in [0, Versions), or Garbage. It is asked
	// in an order that depends on the past operations and its own answers
	// only, so that an explorer can count through all answers. It must not
	// call the file system. nil: DropAll.
	Decide func(Choice) int
	// Journal keeps all directory operations and truncations in one order,
	// each Sync and SyncDir having written out all earlier ones. Without it
	// only the operations on one name have an order.
	Journal bool
}

// DropAll keeps nothing that was not synced.
func DropAll(Choice) int { return 0 }

// KeepAll keeps everything.
func KeepAll(c Choice) int { return c.Versions - 1 }

// Odds are probabilities, each between 0 and 1, that the newest version of
// something is kept. What is not is any of the older versions, each as likely.
type Odds struct {
	Entry, Journal, Length, Allocation, Sector float64
	// Garbage is the probability that an unsynced sector is garbage.
	Garbage float64
}

// Even is a fair coin for everything, without garbage.
var Even = Odds{Entry: 0.5, Journal: 0.5, Length: 0.5, Allocation: 0.5, Sector: 0.5}

// Random decides by chance.
func Random(rng *rand.Rand, odds Odds) func(Choice) int {
	return func(c Choice) int {
		keep := [...]float64{Entry: odds.Entry, Journal: odds.Journal, Length: odds.Length, Allocation: odds.Allocation, Sector: odds.Sector}[c.Kind]
		x := rng.Float64()
		switch {
		case c.Kind == Sector && rng.Float64() < odds.Garbage:
			return Garbage
		case x < keep:
			return c.Versions - 1
		default:
			return rng.IntN(c.Versions - 1)
		}
	}
}

// CrashClone returns the file system as it is after a power cut now. The
// original is as before, and independent.
func (m *FS) CrashClone(crash Crash) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	if crash.Decide == nil {
		crash.Decide = DropAll
	}
	c := crasher{Crash: crash, from: m, to: m.sibling(), seen: map[node]node{}}
	c.chooseJournal()
	c.entries = c.chooseEntries()
	c.to.root = c.node(m.root).(*dir)
	return c.to
}

type crasher struct {
	Crash
	from *FS
	to   *FS
	// cut is the last change that the journal holds; under Journal only.
	cut     uint64
	entries []entryOp // that are kept
	seen    map[node]node
}

// chooseJournal asks how far the journal was written.
func (c *crasher) chooseJournal() {
	if !c.Journal {
		return
	}
	c.cut = c.from.written
	var open []uint64
	for _, o := range c.from.pending {
		open = append(open, o.seq)
	}
	walkFiles(c.from.root, c.from.pending, func(in *inode) {
		for _, o := range in.pending {
			if o.kind == opTruncate {
				open = append(open, o.seq)
			}
		}
	})
	open = slices.DeleteFunc(open, func(seq uint64) bool { return seq <= c.cut })
	slices.Sort(open)
	open = slices.Compact(open)
	if len(open) == 0 {
		return
	}
	if n := c.Decide(Choice{Kind: Journal, Versions: len(open) + 1}); n > 0 {
		c.cut = open[n-1]
	}
}

// walkFiles calls f once for every file that may exist after a power cut.
func walkFiles(root *dir, pending []entryOp, f func(*inode)) {
	seen := map[node]bool{}
	var visit func(n node)
	visit = func(n node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		switch n := n.(type) {
		case *inode:
			f(n)
		case *dir:
			for _, e := range n.durable {
				visit(e.node)
			}
		}
	}
	visit(root)
	for _, o := range pending {
		for _, c := range o.changes {
			visit(c.dir)
			visit(c.to)
		}
	}
}

// chooseEntries asks which directory operations are kept: of those on one name
// the first few.
func (c *crasher) chooseEntries() []entryOp {
	var kept, lost []entryOp
	for _, o := range c.from.pending {
		keep := false
		switch {
		case c.Journal:
			keep = o.seq <= c.cut
		case !slices.ContainsFunc(lost, o.follows):
			last := o.changes[len(o.changes)-1]
			keep = c.Decide(Choice{Kind: Entry, Name: last.name, Versions: 2}) > 0
		}
		if keep {
			kept = append(kept, o)
		} else {
			lost = append(lost, o)
		}
	}
	return kept
}

func (c *crasher) node(n node) node {
	if known, ok := c.seen[n]; ok {
		return known
	}
	if in, ok := n.(*inode); ok {
		left := c.content(in)
		fresh := &inode{name: in.name, perm: in.perm, durable: left.share(), linked: true}
		fresh.cur = left
		c.to.used += left.blocks
		c.seen[n] = fresh
		return fresh
	}
	d := n.(*dir)
	left := slices.Clone(d.durable)
	for _, o := range c.entries {
		for _, ch := range o.changes {
			if ch.dir == d {
				left.set(ch.name, ch.to)
			}
		}
	}
	fresh := new(dir)
	c.seen[n] = fresh
	for i := range left {
		left[i].node = c.node(left[i].node)
	}
	fresh.cur, fresh.durable = left, slices.Clone(left)
	return fresh
}
