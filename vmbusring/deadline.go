package vmbusring

import (
	"sync"
	"time"
)

// deadline is a point in time that can be moved while somebody waits for it,
// as net.Conn wants it.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	c     chan struct{} // closed when the deadline has passed
	final bool          // it has passed for good
}

func makeDeadline() deadline { return deadline{c: make(chan struct{})} }

// set moves the deadline; the zero time takes it away. Who waits on an
// unexpired channel sees the change.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.final {
		d.move(t)
	}
}

// end lets the deadline pass, for good: set does nothing any more.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.final = true
	d.move(time.Unix(1, 0))
}

// ended tells whether end was called.
func (d *deadline) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.final
}

func (d *deadline) move(t time.Time) {
	if d.timer != nil && !d.timer.Stop() {
		<-d.c // the timer has fired: let it close the channel
	}
	d.timer = nil

	passed := false
	select {
	case <-d.c:
		passed = true
	default:
	}
	wait := time.Until(t)
	if t.IsZero() || wait > 0 {
		if passed {
			d.c = make(chan struct{})
		}
		if !t.IsZero() {
			c := d.c
			d.timer = time.AfterFunc(wait, func() { close(c) })
		}
		return
	}
	if !passed {
		close(d.c)
	}
}

// expired returns a channel that is closed once the deadline has passed.
func (d *deadline) expired() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.c
}
