package shmread

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

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

func openSegment(path string, allowV3, unguarded bool) (*segment, error) {
	f, err := openAtOnce(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	defer f.Close() // the mapping outlives the descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	if m := info.Mode(); !m.IsRegular() && !m.IsDir() { // reading a directory says EISDIR, as in the original
		return nil, fmt.Errorf("open %s: %w", path, malformed("not a regular file"))
	}
	var b [headerSize]byte
	if n, err := io.ReadFull(f, b[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("open %s: %w: %d bytes, the header has %d", path, ErrNotInitialized, n, headerSize)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	h := parseHeader(b[:])
	if err := h.checkIn(f, info, allowV3); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	view, err := mapPage(f, unguarded)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", ErrSyscall, path, err)
	}
	s := newSegment(view, h)
	s.path, s.info = path, info
	runtime.AddCleanup(s, func(v *mapping.View) { v.Close() }, view)
	return s, nil
}

// checkIn checks a header that was read behind info. A daemon that rebuilds its
// file in between makes a whole header of a file that was empty: that is not
// malformed, and Now goes on with its last record.
func (h header) checkIn(f *os.File, info os.FileInfo, allowV3 bool) error {
	err := h.check(info.Size(), allowV3)
	if errors.Is(err, ErrMalformed) {
		if again, statErr := f.Stat(); statErr == nil && again.Size() != info.Size() {
			return fmt.Errorf("%w: the file is being rebuilt", ErrNotInitialized)
		}
	}
	return err
}

// openAtOnce opens the file at path to be read. Should it be a pipe, nobody
// waits for its writer: a Reader opens the path again on its own, with its lock
// held.
func openAtOnce(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// mapPage maps the first page of f to be read. Where f loses it, it reads as
// zeros from then on; unguarded, reading it is the end of the process.
func mapPage(f *os.File, unguarded bool) (*mapping.View, error) {
	if unguarded {
		return mapping.MapShared(f.Fd(), 0, pageSize, false)
	}
	return mapping.MapTruncatable(f.Fd(), pageSize)
}

func newSegment(view *mapping.View, h header) *segment {
	return &segment{header: h, version: version(h.vergen), view: view, shared: mapping.Overlay[layout](view, 0)}
}

// A record is the one that c holds if, in this order, the generation, rest,
// times and the generation again say so, and if the generation is that of a
// whole record: the words of a page without one may be c's as well, for a
// caller's new c holds zeros.
//
// The generation alone can not say it: it comes round after 32,767 updates,
// which take a fast writer a millisecond. Nor can any few words beside it: the
// original's daemon leaves as_of, and with it the bound, as they are while it
// is not synchronised, and its status or marker changes all the same. So each
// word is compared. The generation is looked at before and after, or words of
// two updates could pass for an old record. As_of comes last of the words:
// where it only moves forward and is c's now, it has been c's all the time,
// were it 32,767 updates.
//
// rest and times are two, and return a difference instead of a bool, for the
// compiler: it inlines them, and makes straight code of them.
func (l *layout) rest(c *ClockErrorBound) uint64 {
	return (l.body[4].Load() ^ uint64(c.BoundNsec)) | (l.body[5].Load() ^ c.DisruptionMarker) |
		(l.body[6].Load() ^ (uint64(c.MaxDriftPPB) | uint64(uint32(c.Status))<<32)) |
		uint64(byte(l.body[7].Load())^flag(c.DisruptionSupport))
}

func (l *layout) times(c *ClockErrorBound) uint64 {
	return (l.body[2].Load() ^ uint64(c.VoidAfter.Sec)) | (l.body[3].Load() ^ uint64(c.VoidAfter.Nsec)) |
		(l.body[0].Load() ^ uint64(c.AsOf.Sec)) | (l.body[1].Load() ^ uint64(c.AsOf.Nsec))
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
// each word catches what the generation can not: 32,767 updates while this
// goroutine was not running, even ones that leave as_of as it is.
func (l *layout) fetch(c *ClockErrorBound) bool {
	vg := l.vergen.Load()
	if !whole(vg) {
		return false
	}
	w := &l.body
	w0, w1, w2, w3 := w[0].Load(), w[1].Load(), w[2].Load(), w[3].Load()
	w4, w5, w6, w7 := w[4].Load(), w[5].Load(), w[6].Load(), w[7].Load()
	switch {
	case w[2].Load() != w2, w[3].Load() != w3, w[4].Load() != w4, w[5].Load() != w5,
		w[6].Load() != w6, w[7].Load() != w7, w[0].Load() != w0, w[1].Load() != w1, l.vergen.Load() != vg:
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

// read reads the record of any supported version into c, which it leaves alone
// on every error: errTorn, errStale or ErrMalformed.
func (s *segment) read(c *ClockErrorBound) (vergen uint32, err error) {
	b, vergen, err := s.load()
	if err != nil {
		return vergen, err
	}
	return vergen, b.decode(vergen, c)
}

// words is how many words of a body the segment's version has. What lies
// behind them may change at any time.
func (s *segment) words() int {
	if isVersion3(s.version) {
		return bodyWords
	}
	return (sizeV2 - headerSize) / 8
}

func (s *segment) load() (b body, vergen uint32, err error) {
	l := s.shared
	vergen = l.vergen.Load()
	if version(vergen) != s.version || generation(vergen) == 0 {
		return b, vergen, errStale
	}
	if generation(vergen)&1 != 0 {
		return b, vergen, errTorn
	}
	for i := range b {
		b[i] = l.body[i].Load()
	}
	for i := range s.words() {
		if l.body[i].Load() != b[i] {
			return b, vergen, errTorn
		}
	}
	if l.vergen.Load() != vergen {
		return b, vergen, errTorn
	}
	runtime.KeepAlive(s)
	return b, vergen, nil
}
