package aiod

import (
	"context"
	"sync"
)

// credits bound the requests that one side may have in flight. Whoever wants
// several gets them at once, in order of asking.
type credits struct {
	mu    sync.Mutex
	left  int
	queue []*creditClaim
}

type creditClaim struct {
	n     int
	ready chan struct{}
}

func (c *credits) take(ctx context.Context, n int) error {
	c.mu.Lock()
	if len(c.queue) == 0 && c.left >= n {
		c.left -= n
		c.mu.Unlock()
		return nil
	}
	claim := &creditClaim{n, make(chan struct{})}
	c.queue = append(c.queue, claim)
	c.mu.Unlock()
	select {
	case <-claim.ready:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-claim.ready: // granted meanwhile
		c.left += n
	default:
		for i, q := range c.queue {
			if q == claim {
				c.queue = append(c.queue[:i], c.queue[i+1:]...)
				break
			}
		}
	}
	c.serve()
	return ctx.Err()
}

func (c *credits) give(n int) {
	c.mu.Lock()
	c.left += n
	c.serve()
	c.mu.Unlock()
}

func (c *credits) serve() {
	for len(c.queue) > 0 && c.left >= c.queue[0].n {
		c.left -= c.queue[0].n
		close(c.queue[0].ready)
		c.queue = c.queue[1:]
	}
}
