package uio

import (
	"context"
	"sync"

	"loomstore/vmbusring"
	"loomstore/vmbusring/signal"
)

// events shares the interrupts of one device between its channels: the kernel
// counts them all in one place. It listens while any line is in use, and gives
// the device back when the last one is closed.
type events struct {
	device *signal.UIO
	giveUp func() error // what else was opened with the device
	cancel context.CancelFunc

	mu     sync.Mutex
	lines  map[*line]struct{}
	closed bool          // the last line is gone, or there was none
	failed chan struct{} // closed when no interrupt will come again
	err    error         // valid then
}

func newEvents(device *signal.UIO, giveUp func() error) *events {
	ctx, cancel := context.WithCancel(context.Background())
	e := &events{device: device, giveUp: giveUp, cancel: cancel, lines: map[*line]struct{}{}, failed: make(chan struct{})}
	go e.listen(ctx)
	return e
}

func (e *events) listen(ctx context.Context) {
	for {
		if err := e.device.Wait(ctx); err != nil {
			e.err = err
			close(e.failed)
			return
		}
		e.mu.Lock()
		for l := range e.lines {
			select {
			case l.woken <- struct{}{}:
			default:
			}
		}
		e.mu.Unlock()
	}
}

// line returns the signal of one channel, which tells the host by notify.
func (e *events) line(notify func() error) (*line, error) {
	l := &line{events: e, woken: make(chan struct{}, 1), notify: notify}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, vmbusring.ErrClosed
	}
	e.lines[l] = struct{}{}
	return l, nil
}

// line is the signal of one channel of a device.
type line struct {
	events *events
	woken  chan struct{}
	notify func() error
}

// Notify signals the host.
func (l *line) Notify() error { return l.notify() }

// Wait returns after an interrupt for any channel of the device.
func (l *line) Wait(ctx context.Context) error {
	select {
	case <-l.woken:
		return nil
	case <-l.events.failed:
		return l.events.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close leaves the device; the last one closes it.
func (l *line) Close() error {
	e := l.events
	e.mu.Lock()
	delete(e.lines, l)
	last := len(e.lines) == 0
	e.closed = e.closed || last
	e.mu.Unlock()
	if !last {
		return nil
	}
	return e.close()
}

func (e *events) close() error {
	e.cancel()
	<-e.failed
	err := e.device.Close()
	if other := e.giveUp(); err == nil {
		err = other
	}
	return err
}
