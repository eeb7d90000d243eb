package shmring

import (
	"context"
	"time"

	"loomstore/internal/mapping"
)

// How an end waits. A look at the ring costs about a nanosecond, a look with a
// PAUSE before it 20 to 70. The longest spin outlasts a wake-up of the peer on
// another processor (27 to 50 µs, spec section 3.2), so that a pair of ends
// that both sleep can find back to spinning.
const (
	tightLooks = 512  // in front of every wait
	minPauses  = 16   // looks with a PAUSE when spinning does not pay
	maxPauses  = 2048 // when it does
	probeEvery = 64   // waits after which the longest spin is tried anyway

	minNap = 50 * time.Microsecond // between looks at a plain peer, doubling
	maxNap = 10 * time.Millisecond // the longest time without a look
)

// spinner adapts how long an end spins before it sleeps: longer while that
// succeeds, shorter while it does not, as when both ends share a processor.
type spinner struct {
	pauses int
	waits  int // since the last probe
}

func newSpinner() spinner { return spinner{pauses: maxPauses / 4} }

// spin looks until ready or until its budget is used up.
func (s *spinner) spin(ready func() bool) bool {
	for range tightLooks {
		if ready() {
			return true
		}
	}
	limit := s.pauses
	if s.waits++; s.waits >= probeEvery {
		s.waits, limit = 0, maxPauses
	}
	for range limit {
		mapping.Pause(1)
		if ready() {
			s.pauses = min(2*limit, maxPauses)
			return true
		}
	}
	s.pauses = max(s.pauses/2, minPauses)
	return false
}

// sleep waits on this end's word for at most e.longest. The word is set before
// the last look; the peer stores first and looks at the word then; so one of
// the two sees the other, if neither processor does its look early. The peer,
// which is busy with messages, has no fence between them: the barrier here
// stands for both. Without it a wake-up can get lost, and sleep is short.
func (e *end) sleep(ctx context.Context, want uint32, ready func() bool) {
	word := e.control.view.Uint32(e.own)
	word.Store(want)
	nap := e.longest
	if !barrier() || !e.control.fenced() {
		nap = time.Millisecond
	}
	if !ready() && !e.abandoned() {
		futexWait(e.control.view, e.own, want, slice(ctx, nap))
	}
	word.Store(0)
}

// doze waits for a peer that wakes nobody.
func doze(ctx context.Context, nap time.Duration) { time.Sleep(slice(ctx, nap)) }

// slice cuts a sleep at the context's deadline, so that it is kept exactly.
func slice(ctx context.Context, d time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, max(time.Until(deadline), time.Microsecond))
	}
	return d
}
