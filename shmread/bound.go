package shmread

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

const (
	// grace is how long a record counts as fresh.
	grace = 5 * second
	// causalityBlur is how far a record may lie in the future: the writer's
	// coarse clock and ours are not read at the same moment.
	causalityBlur = 1000
	maxDrift      = second // parts in 1e9: a clock that drifts a second a second
)

// Bound is an interval that contains the true time, if Status is trusted, at
// some moment during the call that returned it. Its times are local, as those
// of time.Now, and carry no monotonic reading, so they compare as the wall
// clock.
type Bound struct {
	Earliest, Latest time.Time
	Status           Status
}

// After reports whether the true time is certainly after t. It is false where
// the status is not trusted. (TrueTime's TT.after; the original's 0.1 called
// it before, seen from t.)
func (b Bound) After(t time.Time) bool { return b.Status.Trusted() && b.Earliest.After(t) }

// Before reports whether the true time is certainly before t. It is false
// where the status is not trusted.
func (b Bound) Before(t time.Time) bool { return b.Status.Trusted() && b.Latest.Before(t) }

// Precedes reports whether b was certainly taken before o: the intervals do not
// overlap, and both are trusted.
func (b Bound) Precedes(o Bound) bool { return o.Status.Trusted() && b.Before(o.Earliest) }

// Width returns the length of the interval: twice the error bound.
func (b Bound) Width() time.Duration { return b.Latest.Sub(b.Earliest) }

// at computes the half width of the bound, in nanoseconds, and the status at
// the moment when the monotonic clock showed mono nanoseconds. Rules: spec
// section 3, now().
func (c *ClockErrorBound) at(mono int64) (half int64, s Status, err error) {
	if c.MaxDriftPPB >= maxDrift {
		return 0, 0, malformed("maximum drift of %d ppb is a second a second or more", c.MaxDriftPPB)
	}
	asOf, ok := c.AsOf.nanoseconds()
	age := mono - asOf
	if !ok || age <= -causalityBlur {
		return 0, 0, c.absurdAge(mono)
	}
	age = max(age, 0)
	drift := c.drift(age)
	if drift > math.MaxInt64-c.BoundNsec {
		return 0, 0, malformed("bound of %d ns and drift of %d ns are too much", c.BoundNsec, drift)
	}
	return c.BoundNsec + drift, c.aged(mono, age), nil
}

// absurdAge says what is wrong with an as_of in the future or far in the past.
func (c *ClockErrorBound) absurdAge(mono int64) error {
	if c.AsOf.Sec < -maxSeconds {
		return malformed("as_of of %s is absurd", c.AsOf)
	}
	return fmt.Errorf("%w: as_of is %s, this process's monotonic clock only %v; "+
		"is the daemon in another time namespace, or the file from another boot?", ErrCausalityBreach, c.AsOf, time.Duration(mono))
}

// around makes b the interval real -/+ half nanoseconds, without a monotonic
// reading. Time.Add would do, at more than the cost of all the rest of Now; so
// would a result for b, or UTC, each at a detour through memory.
func (b *Bound) around(real time.Time, half int64) {
	sec, nsec := real.Unix(), int64(real.Nanosecond())
	halfSec, halfNsec := int64(0), half
	if half >= second { // seldom, and a division is slow
		halfSec, halfNsec = half/second, half%second
	}
	b.Earliest = time.Unix(sec-halfSec, nsec-halfNsec)
	b.Latest = time.Unix(sec+halfSec, nsec+halfNsec)
}

// drift is how much the bound has grown in age nanoseconds, rounded up: never
// too narrow. The original rounds down, in float64, so a bound is 1 ns wider
// than its at most, or 2 where its product has fallen below a whole number.
// The quotient fits because the drift is less than the age.
func (c *ClockErrorBound) drift(age int64) int64 {
	hi, lo := bits.Mul64(uint64(age), uint64(c.MaxDriftPPB))
	lo, carry := bits.Add64(lo, second-1, 0)
	if hi += carry; hi == 0 {
		return int64(lo / second)
	}
	quotient, _ := bits.Div64(hi, lo, second)
	return int64(quotient)
}

// aged is the status at mono. Within the grace void_after is not consulted, as
// in the original.
func (c *ClockErrorBound) aged(mono, age int64) Status {
	if age < grace || !c.Status.Trusted() {
		return c.Status
	}
	void, ok := c.VoidAfter.nanoseconds()
	if ok && mono < void || !ok && c.VoidAfter.Sec > 0 {
		return FreeRunning
	}
	return Unknown
}
