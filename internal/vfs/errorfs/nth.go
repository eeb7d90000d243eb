package errorfs

import "sync/atomic"

// Nth lets the operation number N, counted from 0 among those that Match, fail.
type Nth struct {
	N     int
	Match func(Op) bool // nil: every operation
	Fault Fault
	// Sticky lets every matching operation from N on fail: a disk that
	// stays dead.
	Sticky bool

	seen, injected atomic.Int64
}

// Inject is as in Injector.
func (n *Nth) Inject(op Op) *Fault {
	if n.Match != nil && !n.Match(op) {
		return nil
	}
	index := n.seen.Add(1) - 1
	if index == int64(n.N) || n.Sticky && index > int64(n.N) {
		n.injected.Add(1)
		return &n.Fault
	}
	return nil
}

// Seen returns how many operations matched so far.
func (n *Nth) Seen() int { return int(n.seen.Load()) }

// Injected returns how many operations were let fail so far.
func (n *Nth) Injected() int { return int(n.injected.Load()) }
