package shmread

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"loomstore/internal/mapping"
)

// segment is one mapped file. It never changes; a reader that follows a
// replaced file swaps whole segments. The mapping goes away when no goroutine
// can reach the segment any more, so no read can race with the unmapping.
type segment struct {
	path    string
	info    os.FileInfo // of the mapped file: its inode, for os.SameFile
	header  header      // as validated
	version uint16
	view    *mapping.View
	shared  *layout
}

// errTorn reports a record that was being written while it was read.
var errTorn = errors.New("shmread: record is being written")

// errStale reports a segment that is not what was opened any more: look at the
// path again.
var errStale = errors.New("shmread: segment was rebuilt")

func openSegment(path string, allowV3 bool) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	defer f.Close() // the mapping outlives the descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	var b [headerSize]byte
	if n, err := io.ReadFull(f, b[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("open %s: %w: %d bytes, the header has %d", path, ErrNotInitialized, n, headerSize)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	h := parseHeader(b[:])
	if err := h.check(info.Size(), allowV3); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	view, err := mapping.MapShared(f.Fd(), 0, pageSize, false)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", ErrSyscall, path, err)
	}
	s := newSegment(view, h)
	s.path, s.info = path, info
	runtime.AddCleanup(s, func(v *mapping.View) { v.Close() }, view)
	return s, nil
}

func newSegment(view *mapping.View, h header) *segment {
	return &segment{header: h, version: version(h.vergen), view: view, shared: mapping.Overlay[layout](view, 0)}
}

// sameTimes and sameBound compare a version 2 record, word by word, with what
// c holds. They are two so that the compiler can inline them.
func (l *layout) sameTimes(c *ClockErrorBound) bool {
	return (l.body[0].Load()^uint64(c.AsOf.Sec))|(l.body[1].Load()^uint64(c.AsOf.Nsec))|
		(l.body[2].Load()^uint64(c.VoidAfter.Sec))|(l.body[3].Load()^uint64(c.VoidAfter.Nsec)) == 0
}

func (l *layout) sameBound(c *ClockErrorBound) bool {
	return (l.body[4].Load()^uint64(c.BoundNsec))|(l.body[5].Load()^c.DisruptionMarker)|
		(l.body[6].Load()^(uint64(c.MaxDriftPPB)|uint64(uint32(c.Status))<<32)) == 0 &&
		byte(l.body[7].Load()) == flag(c.DisruptionSupport)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// fetch reads a version 2 record that is whole, valid and not Unknown into c.
// Anything else is left to read, which is slower and says what is wrong.
//
// Each word is an atomic load, which on arm64 keeps the next one behind it:
// plain loads in front of the second look at the generation could be moved
// behind it, and would be torn (spec section 5, item 2). The second look at
// as_of catches what the generation can not: 32,767 updates while this
// goroutine was not running.
func (l *layout) fetch(c *ClockErrorBound) bool {
	vg := l.vergen.Load()
	if vg&0x1ffff != 2 || generation(vg) == 0 { // version 2, generation even
		return false
	}
	w := &l.body
	w0, w1, w2, w3 := w[0].Load(), w[1].Load(), w[2].Load(), w[3].Load()
	w4, w5, w6, w7 := w[4].Load(), w[5].Load(), w[6].Load(), w[7].Load()
	if w[0].Load() != w0 || w[1].Load() != w1 || l.vergen.Load() != vg {
		return false
	}
	// One sign bit for five comparisons: the two nanoseconds within
	// [0, 1e9), the bound not negative.
	if int64(w1|w3|w4|(second-1-w1)|(second-1-w3)) < 0 {
		return false
	}
	// A file cut inside its body reads as zeros, status Unknown included.
	if w6>>32-uint64(Synchronized) > uint64(Disrupted-Synchronized) || byte(w7) > 1 {
		return false
	}
	c.AsOf.Sec, c.AsOf.Nsec = int64(w0), int64(w1)
	c.VoidAfter.Sec, c.VoidAfter.Nsec = int64(w2), int64(w3)
	c.BoundNsec, c.DisruptionMarker = int64(w4), w5
	c.MaxDriftPPB, c.Status = uint32(w6), Status(w6>>32)
	c.Version, c.Generation = version(vg), generation(vg)
	c.DisruptionSupport = byte(w7) == 1
	return true
}

// guarded is sameTimes, sameBound and fetch for a file that may be cut short
// under the reader. It reports false for a fault.
func (s *segment) guarded(c *ClockErrorBound) (ok bool) {
	old := debug.SetPanicOnFault(true)
	done := false
	defer func() {
		if done {
			return
		}
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if _, inside := mapping.FaultOffset(s.view.Bytes(), r); !inside {
				panic(r)
			}
		}
	}()
	l := s.shared
	if l.vergen.Load() == joinVergen(c.Version, c.Generation) && l.sameTimes(c) && l.sameBound(c) {
		ok = true
	} else {
		ok = l.fetch(c)
	}
	done = true
	debug.SetPanicOnFault(old)
	return ok
}

// read reads the record of any supported version into c, which it leaves alone
// on every error: errTorn, errStale, ErrMalformed, or a *mapping.FaultError.
func (s *segment) read(c *ClockErrorBound) (vergen uint32, err error) {
	var b body
	err = mapping.Guarded(s.view.Bytes(), func() error {
		l := s.shared
		vergen = l.vergen.Load()
		if version(vergen) != s.version || generation(vergen) == 0 {
			return errStale
		}
		if generation(vergen)&1 != 0 {
			return errTorn
		}
		for i := range b {
			b[i] = l.body[i].Load()
		}
		if l.body[0].Load() != b[0] || l.body[1].Load() != b[1] || l.vergen.Load() != vergen {
			return errTorn
		}
		return nil
	})
	runtime.KeepAlive(s)
	if err != nil {
		return vergen, err
	}
	return vergen, b.decode(vergen, c)
}
