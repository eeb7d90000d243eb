package memfs

import (
	"slices"
	"strings"
)

// node is an *inode or a *dir.
type node any

type entry struct {
	name string
	node node
}

// entries is a directory's content, sorted by name.
type entries []entry

func (e entries) find(name string) (int, bool) {
	return slices.BinarySearchFunc(e, name, func(x entry, name string) int { return strings.Compare(x.name, name) })
}

// get returns nil if there is no such name.
func (e entries) get(name string) node {
	if i, ok := e.find(name); ok {
		return e[i].node
	}
	return nil
}

// set changes a name; nil removes it.
func (e *entries) set(name string, n node) {
	i, ok := e.find(name)
	switch {
	case ok && n == nil:
		*e = slices.Delete(*e, i, i+1)
	case ok:
		(*e)[i].node = n
	case n != nil:
		*e = slices.Insert(*e, i, entry{name, n})
	}
}

type dir struct {
	cur, durable entries
}

// change is a name's new meaning; nil: none.
type change struct {
	dir  *dir
	name string
	to   node
}

func (c change) same(d change) bool { return c.dir == d.dir && c.name == d.name }

// entryOp is a directory operation that is not durable. Its changes, two for a
// rename, become durable together.
type entryOp struct {
	seq     uint64
	changes []change
}

// follows tells whether o changes a name that earlier changes too: then it can
// not become durable without it.
func (o entryOp) follows(earlier entryOp) bool {
	return slices.ContainsFunc(o.changes, func(c change) bool { return slices.ContainsFunc(earlier.changes, c.same) })
}

// split parts the pending operations into those that syncing d makes durable,
// which is all that touch it and what those follow, and the others. A rename
// between two directories becomes durable with either of them, as on file
// systems that have a journal.
func split(pending []entryOp, d *dir) (durable, others []entryOp) {
	take := make([]bool, len(pending))
	for i := len(pending) - 1; i >= 0; i-- {
		take[i] = slices.ContainsFunc(pending[i].changes, func(c change) bool { return c.dir == d })
		for j := i + 1; j < len(pending) && !take[i]; j++ {
			take[i] = take[j] && pending[j].follows(pending[i])
		}
	}
	for i, o := range pending {
		if take[i] {
			durable = append(durable, o)
		} else {
			others = append(others, o)
		}
	}
	return durable, others
}
