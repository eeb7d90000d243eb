package crash

import (
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
)

// act is something a process does with a store, from its start to its end.
type act func(fsys vfs.FS, l *ledger) error

// explorer goes through the crash states of acts under one protocol.
type explorer struct {
	proto protocol
	// budgets[d] is for crash points behind d crashes; the number of budgets
	// is how many crashes are nested.
	budgets []budget
	seed    uint64
	// again is what a process does that starts after a kill or a failed sync.
	again act
	// enoughBad ends the exploration after so many violations; 0: never.
	enoughBad int64
	// clean leaves out garbage in the sectors in flight.
	clean bool
	// witness, if not nil, is told of every violation, and of the state as
	// the crash left it.
	witness func(v violation, left *memfs.FS, l *ledger, journal bool)

	seen     seen
	alive    seen // states after recovery that took the next checkpoint
	begun    seen // states that a restarted process was explored from
	points   atomic.Int64
	tried    atomic.Int64 // states built, the same one more than once
	distinct atomic.Int64
	counts   [outcomes]atomic.Int64
	mu       sync.Mutex
	reports  []violation
}

// violation is one state that broke a rule, with all it takes to see it again.
type violation struct {
	what  outcome
	err   error
	trail string // which crashes, at which operations
	state string // what was kept of what was not durable
	log   string // the operations up to the last crash
}

func (v violation) String() string {
	return fmt.Sprintf("%v: %v\n  at: %s\n  kept: %s\n  operations:\n%s", v.what, v.err, v.trail, v.state, v.log)
}

// trail is the way to a crash point.
type trail struct {
	up   *trail
	text string
	log  *[]string // operations of the process that was crashed
}

func (t *trail) String() string {
	if t == nil {
		return ""
	}
	if up := t.up.String(); up != "" {
		return up + ", " + t.text
	}
	return t.text
}

func (t *trail) operations() string {
	var b strings.Builder
	for ; t != nil; t = t.up {
		if t.log != nil {
			fmt.Fprintf(&b, "    %s\n", strings.Join(*t.log, "\n    "))
			b.WriteString("    -- before that:\n")
		}
	}
	return strings.TrimSuffix(b.String(), "    -- before that:\n")
}

// done reports that there were violations enough.
func (x *explorer) done() bool { return x.enoughBad > 0 && x.bad() >= x.enoughBad }

func (x *explorer) failed() bool { return x.bad() > 0 }

func (x *explorer) bad() (n int64) {
	for o := torn; o < outcomes; o++ {
		n += x.counts[o].Load()
	}
	return n
}

// explore runs a on fsys, and from every crash point of it, on workers
// goroutines, all that can follow.
func (x *explorer) explore(name string, fsys *memfs.FS, l *ledger, a act, workers int) error {
	return spread(workers, func(give func(job func())) error {
		return x.run(fsys, l, a, &trail{text: name}, func(m *memfs.FS, l *ledger, t *trail, p crashPoint) {
			m, l = m.Clone(), l.clone()
			give(func() { x.follow(m, l, t, 0, p) })
		})
	})
}

// spread does on workers goroutines what feed gives them, and returns feed's
// error when all of it is done.
func spread(workers int, feed func(give func(job func())) error) error {
	jobs := make(chan func())
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for job := range jobs {
				job()
			}
		})
	}
	err := feed(func(job func()) { jobs <- job })
	close(jobs)
	wg.Wait()
	return err
}

// crashPoint is a place in a process's life at which it may end.
type crashPoint struct {
	// full: a sync comes next, or something was acknowledged just now. What a
	// power cut can leave grows with every operation until a sync, so here
	// are all states of the operations before; elsewhere a few are enough.
	full bool
	sync string // the file whose sync has failed just now
}

// run lets a process do a, and calls visit at every crash point: after every
// operation that changed something, after every acknowledgement, and before
// every sync, which may also fail.
func (x *explorer) run(fsys *memfs.FS, l *ledger, a act, up *trail, visit func(*memfs.FS, *ledger, *trail, crashPoint)) error {
	var log []string
	at := func(p crashPoint, what string, more ...string) {
		log := append(log[:len(log):len(log)], more...) // of its own, if there is more
		visit(fsys, l, &trail{up: up, text: fmt.Sprintf("%s %d (%s)", what, len(log), last(log)), log: &log}, p)
	}
	via := func(s *step, do func() error) error {
		switch s.Kind {
		case vfs.Sync:
			at(crashPoint{full: true}, "after operation")
			at(crashPoint{sync: s.path}, "after operation", s.String()+" fails")
		case vfs.SyncDir:
			at(crashPoint{full: true}, "after operation")
		}
		err := do()
		log = append(log, s.String())
		if err != nil {
			log[len(log)-1] += " ! " + err.Error()
		}
		if s.Kind != vfs.Allocate {
			at(crashPoint{}, "after operation")
		}
		return err
	}
	l.onAck = func() {
		log = append(log, fmt.Sprintf("acknowledged %d", l.acked))
		at(crashPoint{full: true}, "after")
	}
	defer func() { l.onAck = nil }()
	return a(&tap{FS: fsys, via: via}, l)
}

func last(log []string) string {
	if len(log) == 0 {
		return "nothing yet"
	}
	return log[len(log)-1]
}

// String is the operation as one line.
func (s *step) String() string {
	switch s.Kind {
	case vfs.Write:
		return fmt.Sprintf("%s: write %s %d+%d", s.Phase, s.File, s.Off, len(s.Bytes))
	case vfs.Truncate:
		return fmt.Sprintf("%s: truncate %s %d", s.Phase, s.File, s.Off)
	case vfs.Allocate, vfs.Renew:
		return fmt.Sprintf("%s: %s %s %d+%d", s.Phase, s.Kind, s.File, s.Off, s.Len)
	}
	return fmt.Sprintf("%s: %s %s", s.Phase, s.Kind, s.File)
}

// follow explores everything that can come after one crash point, depth
// crashes having been before it. m and l are its own.
func (x *explorer) follow(m *memfs.FS, l *ledger, t *trail, depth int, p crashPoint) {
	if x.done() {
		return
	}
	x.points.Add(1)
	if p.sync == "" {
		b := x.budgets[depth]
		if !p.full {
			b = budget{b.product / 16, b.samples / 16}
		}
		for _, journal := range []bool{false, true} {
			x.cut(m.Clone(), l, t, depth, journal, b)
		}
	}
	if depth+1 >= len(x.budgets) {
		return
	}
	if p.sync != "" {
		if err := m.FailSync(p.sync); err != nil {
			panic(err)
		}
		x.restart(m, l, &trail{up: t, text: "fails, restart"}, depth+1, hash(p.sync))
		return
	}
	x.restart(m.Clone(), l, &trail{up: t, text: "kill, restart"}, depth+1, 0)
}

// restart lets a new process find what the old one left in the page cache or
// on the medium, and explores its crash points. failed tells states apart in
// which a sync has failed: the page cache does not show it.
func (x *explorer) restart(m *memfs.FS, l *ledger, t *trail, depth int, failed uint64) {
	if !x.begun.add(fingerprint(m) ^ l.key() ^ failed) {
		return
	}
	l = l.clone()
	err := x.run(m, l, x.again, t, func(m *memfs.FS, l *ledger, t *trail, p crashPoint) {
		x.follow(m.Clone(), l.clone(), t, depth, p)
	})
	if err != nil {
		x.violate(err, t, nil, l, false, func() string { return "everything" })
	}
}

func hash(name string) uint64 { return maphash.String(hashSeed, name) }

// fingerprint tells apart what processes find that start now: what they read,
// and what a power cut would leave of it.
func fingerprint(m *memfs.FS) uint64 {
	h := m.Hash(hashSeed)
	for i, journal := range []bool{false, true} {
		oldest := m.CrashClone(memfs.Crash{Decide: memfs.DropAll, Journal: journal})
		h = h*31 + oldest.Hash(hashSeed) + uint64(i)
	}
	return h
}

// cut checks the states after a power cut, and lets a few of them be recovered
// under observation.
func (x *explorer) cut(m *memfs.FS, l *ledger, t *trail, depth int, journal bool, b budget) {
	rng := x.rng(t, journal)
	n, next := 0, 1
	states(m, journal, x.clean, x.proto.pageSize(), b, rng, func(s *memfs.FS, how func() string) bool {
		x.tried.Add(1)
		if !x.seen.add(s.Hash(hashSeed) ^ l.key()) {
			return !x.done()
		}
		x.distinct.Add(1)
		if n++; n == next && depth+1 < len(x.budgets) {
			next *= 16
			mode := "posix"
			if journal {
				mode = "ext4"
			}
			x.restart(s.Clone(), l, &trail{up: t, text: "cut (" + mode + ": " + how() + "), restart"}, depth+1, 0)
		}
		x.check(s, l, t, journal, how)
		return !x.done()
	})
}

// rng is the source of chance at one crash point, the same on every run with
// the same seed.
func (x *explorer) rng(t *trail, journal bool) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, t.String(), journal)
	return rand.New(rand.NewPCG(x.seed, h.Sum64()))
}

// check recovers one state and judges it.
func (x *explorer) check(s *memfs.FS, l *ledger, t *trail, journal bool, how func() string) {
	l = l.clone()
	var left *memfs.FS
	if x.witness != nil {
		left = s.Clone()
	}
	open, g, f := recovered(x.proto, s, l)
	if f != nil {
		x.violate(f, t, left, l, journal, how)
		return
	}
	x.counts[whole].Add(1)
	l.restarted(g)
	if !x.alive.add(s.Hash(hashSeed) ^ l.key()) {
		_ = open.close()
		return
	}
	if f := live(x.proto, open, s, l); f != nil {
		x.violate(f, t, left, l, journal, how)
	}
}

func (x *explorer) violate(err error, t *trail, left *memfs.FS, l *ledger, journal bool, how func() string) {
	what := unavailable
	if f, ok := err.(*finding); ok {
		what = f.what
	}
	x.counts[what].Add(1)
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.reports) >= 5 && x.witness == nil {
		return
	}
	v := violation{what, err, t.String(), fmt.Sprintf("journal=%v %s", journal, how()), t.operations()}
	if len(x.reports) < 5 {
		x.reports = append(x.reports, v)
	}
	if x.witness != nil {
		x.witness(v, left, l, journal)
	}
}

var hashSeed = maphash.MakeSeed()

// seen is a set of hashes for many goroutines.
type seen struct {
	shards [16]struct {
		mu  sync.Mutex
		set map[uint64]struct{}
	}
}

// add reports whether h is new.
func (s *seen) add(h uint64) bool {
	shard := &s.shards[h&15]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.set == nil {
		shard.set = map[uint64]struct{}{}
	}
	if _, ok := shard.set[h]; ok {
		return false
	}
	shard.set[h] = struct{}{}
	return true
}
