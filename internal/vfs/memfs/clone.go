package memfs

// Clone returns the file system as a process finds it that starts after
// another was killed: every byte, synced or not, is there; no lock is held;
// files without a name are gone. Both are independent from now on.
func (m *FS) Clone() *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := copier{to: m.sibling(), seen: map[node]node{}}
	c.to.root = c.node(m.root).(*dir)
	c.to.seq, c.to.written = m.seq, m.written
	c.to.pending = make([]entryOp, len(m.pending))
	for i, o := range m.pending {
		changes := make([]change, len(o.changes))
		for j, ch := range o.changes {
			changes[j] = change{c.node(ch.dir).(*dir), ch.name, c.node(ch.to)}
		}
		c.to.pending[i] = entryOp{o.seq, changes}
	}
	return c.to
}

// sibling returns an empty file system with m's settings.
func (m *FS) sibling() *FS {
	s := New()
	s.capacity = m.capacity
	return s
}

// copier copies nodes, each one once.
type copier struct {
	to   *FS
	seen map[node]node
}

func (c *copier) node(n node) node {
	if n == nil {
		return nil
	}
	if known, ok := c.seen[n]; ok {
		return known
	}
	if in, ok := n.(*inode); ok {
		fresh := in.clone()
		if fresh.linked {
			c.to.used += fresh.cur.blocks
		}
		c.seen[n] = fresh
		return fresh
	}
	fresh := new(dir)
	c.seen[n] = fresh
	fresh.cur = c.entries(n.(*dir).cur)
	fresh.durable = c.entries(n.(*dir).durable)
	return fresh
}

func (c *copier) entries(from entries) entries {
	to := make(entries, len(from))
	for i, e := range from {
		to[i] = entry{e.name, c.node(e.node)}
	}
	return to
}
