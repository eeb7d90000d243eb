package shmread

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// clock turns a time.Time that carries a monotonic reading into the absolute
// CLOCK_MONOTONIC that segments count in. Go does not give that out, and the
// system call for it costs several times time.Now.
type clock struct {
	start time.Time
	base  int64 // CLOCK_MONOTONIC just after start, nanoseconds
}

// newClock takes the best of some calibrations. The clock is read after start,
// so what monotonic returns is never early: an error widens the bound.
func newClock() (clock, error) {
	var best clock
	shortest := time.Duration(1<<63 - 1)
	for range 8 {
		start := time.Now()
		base, err := monotonicNow()
		if err != nil {
			return clock{}, err
		}
		if took := time.Since(start); took < shortest {
			best, shortest = clock{start, base}, took
		}
	}
	return best, nil
}

func (c *clock) monotonic(t time.Time) int64 { return c.base + int64(t.Sub(c.start)) }

// lastGood is the last record that Now has used, for the time in which the
// daemon is inside an update or rebuilds its file.
type lastGood struct {
	key atomic.Uint64
	mu  sync.Mutex
	c   ClockErrorBound
}

// key tells one record from the next. That it may come round after 32,767
// updates only makes the fallback older.
func (c *ClockErrorBound) key() uint64 {
	return uint64(joinVergen(c.Version, c.Generation))<<32 | uint64(uint32(c.AsOf.Nsec))
}

func (l *lastGood) keep(key uint64, c *ClockErrorBound) {
	if l.mu.TryLock() { // else somebody else is keeping a record as new
		l.c = *c
		l.key.Store(key)
		l.mu.Unlock()
	}
}

func (l *lastGood) get(c *ClockErrorBound) bool {
	if l.key.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	*c = l.c
	return true
}

// Now returns an interval around the true time, and how far to trust it. The
// status is aged as the original ages it: 5 s after the daemon's last word
// FreeRunning, at void_after Unknown; where the segment says that disruptions
// are supported, and its marker is not the VMClock page's, it is Unknown.
//
// While the daemon is inside an update for long, or rebuilds the file, Now
// goes on with the last record it has used, whose bound grows and whose status
// ages by itself; without one it returns ErrNotInitialized. Other errors: those
// of Open, for the VMClock page as well; ErrMalformed for a drift of 1e9 ppb or
// more or an absurd as_of; ErrCausalityBreach for an as_of in the future.
func (r *Reader) Now() (b Bound, err error) {
	var c ClockErrorBound // new: there is nothing to compare with
	if s := r.cur.Load(); s == nil || !s.shared.fetch(&c) {
		err = r.snapshotSlow(&c)
	} else {
		runtime.KeepAlive(s)
	}
	if err == nil {
		// Every reading comes here, and hardly any has a new record.
		if key := c.key(); r.last.key.Load() != key {
			r.last.keep(key, &c)
		}
	} else if !errors.Is(err, ErrNotInitialized) || !r.last.get(&c) {
		return b, err
	}
	if isVersion3(c.Version) {
		return b, ErrVersion3
	}
	// After the record, so that it is never of the future; time.Now reads
	// the wall clock first and the monotonic one second, so being preempted
	// in between widens the interval.
	now := time.Now()
	half, status, err := c.at(r.clock.monotonic(now))
	if err != nil {
		return b, err
	}
	if c.DisruptionSupport {
		marker, err := r.vmclock.marker()
		if err != nil {
			return b, err
		}
		if marker != c.DisruptionMarker {
			status = Unknown
		}
	}
	b.around(now, half)
	b.Status = status
	return b, nil
}

// WaitSynchronized waits until Now says Synchronized. It returns early with
// ErrVersionNotSupported and after Close, and when ctx ends with its cause and
// what was in the way.
func (r *Reader) WaitSynchronized(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		b, err := r.Now()
		switch {
		case err == nil && b.Status == Synchronized:
			return nil
		case errors.Is(err, ErrVersionNotSupported), errors.Is(err, errClosed):
			return err
		case err == nil:
			err = fmt.Errorf("status is %s", b.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a synchronized clock: %w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
