package aiod

import (
	"time"

	"loomstore/internal/mapping"
)

// spinner looks for something a little while before its user goes to sleep,
// as long as that pays: with a core for each end an answer comes within a few
// microseconds, less than sleeping and being woken cost. On a busy machine it
// does not; then spinning only keeps the other end from running, and after a
// few vain attempts it is left off for longer and longer.
//
// Not safe for concurrent use.
type spinner struct {
	misses uint // in a row
	skip   uint // attempts to leave out
}

const (
	maxMisses = 3
	minSkip   = 64
	maxSkip   = 512

	// spinTime is about what going to sleep and being woken on a core that has
	// gone idle cost together. Less would not pay at all: once one end has
	// slept, the other would always give up before that has woken.
	spinTime = 25 * time.Microsecond
)

// wait looks for spinTime and reports whether ready ever was true.
func (s *spinner) wait(ready func() bool) bool {
	if s.skip > 0 {
		s.skip--
		return false
	}
	for began := time.Now(); ; {
		for range 16 {
			if ready() {
				s.misses = 0
				return true
			}
			mapping.Pause(1)
		}
		if time.Since(began) > spinTime {
			break
		}
	}
	if s.misses++; s.misses >= maxMisses {
		s.skip = min(uint(minSkip)<<(s.misses-maxMisses), maxSkip)
		s.misses = min(s.misses, maxMisses+7)
	}
	return false
}
