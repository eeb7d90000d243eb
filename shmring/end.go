package shmring

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"loomstore/internal/mapping"
)

// end is what a producer and a consumer have in common: the ring's memory, the
// life, and the wait for the peer. All but the lifecycle belongs to the
// goroutine that uses the end.
type end struct {
	lifecycle
	spinner
	memory *mapping.View // of the ring
	final  error         // what every later call returns: the ring is corrupt, or was read to its end

	longest time.Duration  // of a sleep, maxNap but in tests
	pair    *Pair          // nil: a ring on its own
	control *control       // nil: a pair without control block
	own     int            // offset in the control block of the word this end sleeps on
	other   int            // offset of the word that the other end of this ring sleeps on
	theirs  *atomic.Uint32 // that word; nil without control block
}

func newEnd(view *mapping.View) end { return end{memory: view, spinner: newSpinner(), longest: maxNap} }

// join connects the end to its pair.
func (e *end) join(p *Pair, ring party, producing bool) {
	e.pair = p
	if p.control == nil {
		return
	}
	e.control = p.control
	e.own, e.other = sleeper(ring, producing), sleeper(ring, !producing)
	e.theirs = p.control.view.Uint32(e.other)
}

// usable is the check in front of every operation.
func (e *end) usable() error {
	if e.final != nil {
		return e.final
	}
	if !e.mayUse() {
		return ErrClosed
	}
	return nil
}

// leave is deferred by every operation that touches shared memory:
//
//	defer e.leave(debug.SetPanicOnFault(true), &err)
//
// It turns the fault of an object that the peer has truncated into an error,
// and makes corruption final. mapping.Guarded would do the same, for a closure
// a message.
func (e *end) leave(old bool, err *error) {
	debug.SetPanicOnFault(old)
	if r := recover(); r != nil {
		*err = e.faulted(r)
	}
	if *err != nil && *err != ErrFull && *err != ErrEmpty && e.final == nil && errors.Is(*err, ErrCorrupt) {
		e.final = *err
	}
	runtime.KeepAlive(e.pair) // its cleanup unmaps what was just used
}

// faulted panics on with everything that is not a fault of this end's memory.
func (e *end) faulted(recovered any) error {
	what, at, ok := "ring object", 0, false
	if at, ok = mapping.FaultOffset(e.memory.Bytes(), recovered); !ok && e.control != nil {
		what = "control block"
		at, ok = mapping.FaultOffset(e.control.view.Bytes(), recovered)
	}
	if !ok {
		panic(recovered)
	}
	return &CorruptError{Defect: DefectSize, What: what, At: int64(at), Want: "memory", Found: 0, Cause: mapping.ErrFault}
}

// rouse wakes the other end if it sleeps and available is what it waits for.
// The load may be done before the stores that made it available are seen: the
// sleeper's barrier sees to that (sleep).
func (e *end) rouse(available uint32) {
	if e.theirs == nil {
		return
	}
	if wanted := e.theirs.Load(); wanted != 0 && available >= wanted {
		wake(e.control.view, e.other)
	}
}

// abandoned tells that Pair.Close was called.
func (e *end) abandoned() bool { return e.pair != nil && e.pair.closed.Load() }

// await returns nil when ready says true, which is asked again and again:
// first in a spin, by a glance that may miss what only a broken peer does, then
// between sleeps of at most maxNap. It returns the
// context's error, ErrClosed after Pair.Close, and ErrPeerDead or ErrPeerGone
// when nobody is left who could make ready true.
func (e *end) await(ctx context.Context, want uint32, glance, ready func() bool) error {
	if e.spin(glance) {
		return nil
	}
	for nap := minNap; ; nap = min(2*nap, maxNap) {
		if err := ctx.Err(); err != nil {
			return err
		}
		peer := e.control.peer()
		switch {
		case ready(): // also what the peer did last before it ended
			return nil
		case e.abandoned(): // which also ends what peer looks at
			return ErrClosed
		case peer == peerDead:
			return ErrPeerDead
		case peer == peerGone:
			return ErrPeerGone
		case peer == peerAlive:
			e.sleep(ctx, want, ready)
		case e.pair != nil && e.pair.dropped():
			return ErrPeerGone
		default:
			doze(ctx, nap)
		}
	}
}
