package shmread

import "fmt"

// Status is what the daemon, or the age of its word, says about the clock.
type Status int32

// The states of the clock, with the numbers that a segment holds.
const (
	Unknown      Status = iota // the bound can not be trusted
	Synchronized               // disciplined: the bound holds
	FreeRunning                // not disciplined lately: the bound holds and grows with the drift
	Disrupted                  // the clock jumped under the guest: the bound can not be trusted
)

// String returns the name that loomctl prints.
func (s Status) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Synchronized:
		return "synchronized"
	case FreeRunning:
		return "free_running"
	case Disrupted:
		return "disrupted"
	default:
		return fmt.Sprintf("status(%d)", int32(s))
	}
}

// Trusted reports whether a bound with this status holds.
func (s Status) Trusted() bool { return s == Synchronized || s == FreeRunning }

// Timespec is a reading of the monotonic clock: seconds and nanoseconds since
// some moment near boot, never Unix time. Nsec is within [0, 1e9).
type Timespec struct {
	Sec, Nsec int64
}

// nanoseconds returns the reading as one number. A segment may hold any
// seconds: ok is false where the number would not fit into int64 with room for
// a difference, some 136 years from boot.
func (t Timespec) nanoseconds() (n int64, ok bool) {
	if t.Sec < -maxSeconds || t.Sec > maxSeconds {
		return 0, false
	}
	return t.Sec*second + t.Nsec, true
}

func (t Timespec) String() string { return fmt.Sprintf("%d.%09d s", t.Sec, t.Nsec) }

const (
	second     = 1_000_000_000
	maxSeconds = 1 << 32
)

// ClockErrorBound is one record of a segment: what the daemon knew when it
// wrote last. Layout: spec section 1.
type ClockErrorBound struct {
	AsOf              Timespec // when the bound was measured, CLOCK_MONOTONIC_COARSE
	VoidAfter         Timespec // from then on the record says nothing, same clock
	BoundNsec         int64    // half width of the interval at AsOf, nanoseconds, never negative
	DisruptionMarker  uint64   // the VMClock's marker when the record was written
	MaxDriftPPB       uint32   // how much the bound grows a second, parts in 1e9
	Status            Status   // as the daemon wrote it; ageing is Now's work
	Version           uint16   // of the segment; ignored by Writer.Update
	Generation        uint16   // of the record, even; ignored by Writer.Update
	DisruptionSupport bool     // whether DisruptionMarker means anything
}

// check validates the fields in which a hostile or broken writer could make
// the arithmetic of Now lie.
func (c *ClockErrorBound) check() error {
	switch {
	case c.AsOf.Nsec < 0 || c.AsOf.Nsec >= second:
		return malformed("as_of nanoseconds %d are not within [0, 1e9)", c.AsOf.Nsec)
	case c.VoidAfter.Nsec < 0 || c.VoidAfter.Nsec >= second:
		return malformed("void_after nanoseconds %d are not within [0, 1e9)", c.VoidAfter.Nsec)
	case c.BoundNsec < 0:
		return malformed("bound of %d ns is negative", c.BoundNsec)
	case c.Status < Unknown || c.Status > Disrupted:
		return malformed("clock status %d is not within [0, 3]", int32(c.Status))
	}
	return nil
}
