package shmring

import (
	"sync"
	"sync/atomic"
)

// state is where an end is in its life.
type state uint32

const (
	opened state = iota
	closing
	closed
)

// operation moves an end on; the zero value is none.
type operation uint32

const (
	noOperation operation = iota
	opClose               // opened or closing -> closing
	opClosed              // closing -> closed
)

// lifecycle is upstream's state machine (spec section 1, "EoF and state
// machine"): an operation is prepared, then committed or aborted, and only a
// commit changes the state. It is private to a process. Upstream keeps one for
// both directions, and so has no half-close; here each end has its own.
type lifecycle struct {
	current atomic.Uint32

	mu   sync.Mutex // held for a transition; mayUse does without
	next operation
}

// prepare announces op. It returns ErrClosed where op is not possible in the
// present state, and ErrClosing where another one must finish first.
func (l *lifecycle) prepare(op operation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch current := state(l.current.Load()); {
	case current == closed:
		return ErrClosed
	case op == opClose:
	case current == opened:
		return ErrClosed
	case l.next != noOperation:
		return ErrClosing
	}
	l.next = op
	return nil
}

// commit carries out what was prepared; without that it does nothing.
func (l *lifecycle) commit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.next {
	case opClose:
		l.current.Store(uint32(closing))
	case opClosed:
		l.current.Store(uint32(closed))
	}
	l.next = noOperation
}

// abort forgets what was prepared.
func (l *lifecycle) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = noOperation
}

// finish goes to closed from wherever the end is.
func (l *lifecycle) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current.Store(uint32(closed))
	l.next = noOperation
}

// mayUse tells whether messages may still pass: upstream's may_push and
// may_pop.
func (l *lifecycle) mayUse() bool { return state(l.current.Load()) == opened }
