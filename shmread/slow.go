package shmread

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// patience bounds every wait for another process. A writer needs nanoseconds
// for an update unless it is descheduled inside one, so: spin, let other
// goroutines run, then let other processes run.
type patience int

const (
	spins  = 64
	yields = 32
	sleeps = 50 // of a millisecond
)

// wait returns false when there is nothing left to wait with. A short wait
// does not sleep.
func (p *patience) wait(short bool) bool {
	*p++
	switch n := int(*p); {
	case n <= spins:
	case n <= spins+yields:
		runtime.Gosched()
	case n <= spins+yields+sleeps && !short:
		time.Sleep(time.Millisecond)
	default:
		return false
	}
	return true
}

// fetch is Snapshot for a caller who does not hold the record already.
func (r *Reader) fetch(c *ClockErrorBound) error {
	if s := r.cur.Load(); s != nil && s.shared.fetch(c) {
		runtime.KeepAlive(s)
		return nil
	}
	return r.snapshotSlow(c)
}

// snapshotSlow is Snapshot for everything but a whole, valid version 2 record:
// it waits for updates, follows the path, and says what is wrong.
func (r *Reader) snapshotSlow(c *ClockErrorBound) error {
	var p patience
	for {
		s := r.cur.Load()
		if s == nil {
			var err error
			if s, err = r.reopen(nil); err != nil {
				return err
			}
		}
		vergen, err := s.readWhole(c)
		switch {
		case err == nil:
			r.stuck.Store(0)
			return nil
		case errors.Is(err, errTorn):
			// One long vain wait is enough for one stuck update.
			if !p.wait(r.stuck.Load() == vergen) {
				if generation(vergen)&1 != 0 {
					r.stuck.Store(vergen)
				}
				return fmt.Errorf("read %s at generation %d: %w", s.path, generation(vergen), ErrBusy)
			}
		case errors.Is(err, errStale):
			if _, err := r.reopen(s); err != nil {
				return err
			}
			if !p.wait(false) {
				return fmt.Errorf("read %s: %w: it is rebuilt again and again", s.path, ErrNotInitialized)
			}
		default:
			return fmt.Errorf("read %s: %w", s.path, err)
		}
	}
}

// readWhole is read, distrusting a record of status Unknown: this is also what
// a file reads as that was cut inside its body. The length of the file is
// looked at between two equal readings.
func (s *segment) readWhole(c *ClockErrorBound) (uint32, error) {
	var first, again ClockErrorBound
	vergen, err := s.read(&first)
	if err == nil && first.Status == Unknown {
		if !s.current() {
			return vergen, errStale
		}
		if vergen, err = s.read(&again); err == nil && again != first {
			err = errTorn
		}
	}
	if err == nil {
		*c = first
	}
	return vergen, err
}
