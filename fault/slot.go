package fault

import "sync/atomic"

// slot is what the fault handler knows of one arena. It has no pointers: the
// slots that the handler reads lie in a table outside the heap, and the fields
// are offsets to its assembly.
type slot struct {
	end  atomic.Uintptr // address behind the arena, or 0: stored last by publish, first by withdraw
	base atomic.Uintptr

	bits    uintptr // words of the dirty bitmap; 0 when faults are not how stores are found
	summary uintptr // one bit for each of those words

	guard atomic.Int64 // page number, or guard.None
	low   atomic.Int64 // watermarks, in bytes
	high  atomic.Int64

	// overflow says that stores went unseen since the pages were last
	// protected: the handler ran into the limit of memory areas and opened
	// them all.
	overflow atomic.Uint64

	faults    atomic.Uint64
	overflows atomic.Uint64
	moves     atomic.Uint64

	_ [5]uint64 // two cache lines
}

func (s *slot) guardPage() int { return int(s.guard.Load()) }
