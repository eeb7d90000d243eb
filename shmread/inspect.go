package shmread

import (
	"errors"
	"fmt"
	"io/fs"
)

// Segment is a decoded segment: a record and what its header says beside.
type Segment struct {
	ClockErrorBound
	Size       uint32 // segsize of the header, bytes
	Unverified bool   // version 3: decoded by a layout nobody has verified
}

// Inspect decodes the segment at path, or with an empty path the first default
// path that exists, once, without looking at VMClock and without ever writing.
// Only UnverifiedV3 and Unguarded of o matter. Errors: those of Open, and ErrBusy.
func Inspect(path string, o *Options) (Segment, error) {
	if o == nil {
		o = &Options{}
	}
	if path == "" {
		seg, err := Inspect(DefaultPath, o)
		if errors.Is(err, fs.ErrNotExist) {
			if v1, err := Inspect(DefaultPathV1, o); err == nil {
				return v1, nil
			}
		}
		return seg, err
	}
	s, err := openSegment(path, o.UnverifiedV3, o.Unguarded)
	if err != nil {
		return Segment{}, err
	}
	seg := Segment{Size: s.header.segsize, Unverified: isVersion3(s.version)}
	for wait := patience(0); ; {
		vergen, err := s.readWhole(&seg.ClockErrorBound)
		switch {
		case err == nil:
			return seg, nil
		case !errors.Is(err, errTorn):
			return Segment{}, fmt.Errorf("read %s: %w", path, err)
		case !wait.wait(false):
			return Segment{}, fmt.Errorf("read %s at generation %d: %w", path, generation(vergen), ErrBusy)
		}
	}
}

// InspectVMClock reads the VMClock page at path once. Errors: ErrSyscall (a
// missing file is also fs.ErrNotExist), ErrNotInitialized (ErrBusy after a
// bounded wait), ErrMalformed, ErrVersionNotSupported.
func InspectVMClock(path string) (VMClock, error) {
	p, err := openVMClock(path, false)
	if err != nil {
		return VMClock{}, err
	}
	return p.read()
}

// StatusWith returns the record's status as a client sees it that has compared
// markers with the VMClock page v: Unknown where they differ, even in place of
// Disrupted, as in the original. Without DisruptionSupport v does not matter.
func (c *ClockErrorBound) StatusWith(v VMClock) Status {
	if c.DisruptionSupport && c.DisruptionMarker != v.Marker {
		return Unknown
	}
	return c.Status
}

// Decode decodes the bytes of a segment at rest, such as a copied file. It
// accepts and refuses what Open and Snapshot accept and refuse of a file with
// these bytes.
func Decode(b []byte, o *Options) (Segment, error) {
	if o == nil {
		o = &Options{}
	}
	if len(b) < headerSize {
		return Segment{}, fmt.Errorf("%w: %d bytes, the header has %d", ErrNotInitialized, len(b), headerSize)
	}
	h := parseHeader(b)
	if err := h.check(int64(len(b)), o.UnverifiedV3); err != nil {
		return Segment{}, err
	}
	if generation(h.vergen)&1 != 0 {
		return Segment{}, fmt.Errorf("generation %d: %w", generation(h.vergen), ErrBusy)
	}
	seg := Segment{Size: h.segsize, Unverified: isVersion3(version(h.vergen))}
	words := parseBody(b)
	if err := words.decode(h.vergen, &seg.ClockErrorBound); err != nil {
		return Segment{}, err
	}
	return seg, nil
}
