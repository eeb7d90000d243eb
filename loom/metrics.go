package loom

import (
	"fmt"
	"sync"
	"time"

	"loomstore/fault"
)

// Metrics are counts and durations since Open.
type Metrics struct {
	Tracker       fault.Kind // in use
	TrackerReason string     // why this one
	Tracking      fault.Stats
	IO            string // who writes: this process ("direct"), or what Options.IO calls itself

	Epoch      uint64 // last committed checkpoint
	ImagePages int    // of the last committed checkpoint
	ArenaPages int

	Checkpoints   uint64 // committed
	Failures      uint64 // checkpoints that failed
	ApplyFailures uint64 // attempts to apply that failed
	PagesSaved    uint64 // by committed checkpoints

	ScrubRounds  uint64 // over all pages
	ScrubPages   uint64 // compared with their hashes
	ScrubDamaged uint64 // times that a page was wrong or could not be read

	LastCapture time.Duration // to find the dirty pages; the program stands still
	LastCommit  time.Duration // from the beginning to the commit point
	LastApply   time.Duration
}

// counters are the metrics that operations count. They are updated from the
// goroutines of asynchronous checkpoints and applies.
type counters struct {
	mu     sync.Mutex
	m      Metrics
	closed bool // m.Tracking has the last counts; there is no arena to ask
}

// trackingEnds keeps what the tracker has counted, before it is gone.
func (c *counters) trackingEnds(last fault.Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.Tracking, c.closed = last, true
}

func (c *counters) captured(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.LastCapture = took
}

func (c *counters) committed(cp *captured, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.m.Failures++
		return
	}
	c.m.Checkpoints++
	c.m.PagesSaved += uint64(cp.Pages)
	c.m.LastCommit = time.Since(cp.began)
}

func (c *counters) applied(took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.m.ApplyFailures++
		return
	}
	c.m.LastApply = took
}

// scrubbed counts a page of the scrub.
func (c *counters) scrubbed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.ScrubPages++
	if err != nil {
		c.m.ScrubDamaged++
	}
}

func (c *counters) scrubbedRound() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.ScrubRounds++
}

// Metrics returns what happened since Open. It waits for nothing and may be
// called while the program runs, and beside Close and after it.
func (l *Loom) Metrics() Metrics {
	l.metrics.mu.Lock()
	m := l.metrics.m
	if !l.metrics.closed {
		m.Tracking = l.arena.Stats()
	}
	l.metrics.mu.Unlock()
	st := l.store.State()
	m.Epoch, m.ImagePages, m.ArenaPages = st.Epoch, st.Pages, int(l.o.Size/PageSize)
	m.IO = "direct"
	if l.o.IO != nil {
		m.IO = fmt.Sprint(l.o.IO)
	}
	m.Tracker, m.TrackerReason = l.arena.Kind(), l.arena.Reason()
	return m
}
