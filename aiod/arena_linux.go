package aiod

import (
	"context"
	"sync"
)

// arena shares a buddy allocator between callers that wait, first come first
// served, while there is no room: shared memory is what bounds the requests in
// flight.
type arena struct {
	mu      sync.Mutex
	mem     *buddy
	queue   []*claim
	growing bool
	limit   uint64
	// grow makes [end, end+n) usable; called without the lock.
	grow func(end, n uint64) error
}

// claim is one caller's wish for up to two blocks at once.
type claim struct {
	sizes [2]int // 0: no block
	got   [2]uint64
	ready chan struct{}
	err   error
}

func (a *arena) try(c *claim) bool {
	for i, n := range c.sizes {
		if n == 0 {
			continue
		}
		off, ok := a.mem.alloc(n)
		if !ok {
			if i == 1 && c.sizes[0] != 0 {
				a.mem.release(c.got[0])
			}
			return false
		}
		c.got[i] = off
	}
	return true
}

// tryAlloc is alloc for a caller that holds blocks already and so must not
// wait for others.
func (a *arena) tryAlloc(first, second int) (got [2]uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) > 0 {
		return got, false
	}
	c := claim{sizes: [2]int{first, second}}
	ok = a.try(&c)
	return c.got, ok
}

// alloc returns blocks of the two sizes, the second of which may be 0. It
// grows the memory first and then waits for others to release theirs.
func (a *arena) alloc(ctx context.Context, first, second int) ([2]uint64, error) {
	a.mu.Lock()
	c := claim{sizes: [2]int{first, second}}
	if len(a.queue) == 0 && a.try(&c) {
		a.mu.Unlock()
		return c.got, nil
	}
	waiting := &claim{sizes: c.sizes, ready: make(chan struct{})}
	a.queue = append(a.queue, waiting)
	if !a.growing && a.mem.end < a.limit {
		a.growing = true
		go a.growSome()
	}
	a.mu.Unlock()
	select {
	case <-waiting.ready:
		return waiting.got, waiting.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-waiting.ready: // granted meanwhile
		if waiting.err == nil {
			a.releaseLocked(waiting.sizes, waiting.got)
		}
	default:
		for i, c := range a.queue {
			if c == waiting {
				a.queue = append(a.queue[:i], a.queue[i+1:]...)
				break
			}
		}
		a.serve()
	}
	return waiting.got, ctx.Err()
}

// release gives back blocks got for these sizes.
func (a *arena) release(sizes [2]int, got [2]uint64) {
	a.mu.Lock()
	a.releaseLocked(sizes, got)
	a.mu.Unlock()
}

func (a *arena) releaseLocked(sizes [2]int, got [2]uint64) {
	for i, n := range sizes {
		if n > 0 {
			a.mem.release(got[i])
		}
	}
	a.serve()
}

// serve grants what it can, in order.
func (a *arena) serve() {
	for len(a.queue) > 0 && a.try(a.queue[0]) {
		close(a.queue[0].ready)
		a.queue = a.queue[1:]
	}
}

// growSome extends the memory by a quarter, as the original does, until nobody
// waits or the limit is reached. An error is the waiters' only if no block
// that is in use could still come back to them.
func (a *arena) growSome() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 && a.mem.end < a.limit {
		end := a.mem.end
		n := min(a.limit-end, max(uint64(1)<<a.mem.maxShift, end/4&^(1<<a.mem.maxShift-1)))
		a.mu.Unlock()
		err := a.grow(end, n)
		a.mu.Lock()
		if err != nil {
			if a.mem.inUse == 0 {
				for _, c := range a.queue {
					c.err = err
					close(c.ready)
				}
				a.queue = nil
			}
			break
		}
		a.mem.extend(n)
		a.serve()
	}
	a.growing = false
}
