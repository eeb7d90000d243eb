package aiod

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// sequence carries out submissions one after the other, from a private copy of
// them, up to the first that fails or does less than it should. The result is
// how many were done.
func (s *nativeServer) sequence(e *Submission) (int64, error) {
	steps := append([]byte(nil), s.data[e.Buf:e.Buf+e.Len]...)
	done := int64(0)
	for ; len(steps) > 0; steps = steps[submissionSize:] {
		step, err := DecodeSubmission((*[submissionSize]byte)(steps), uint64(len(s.data)))
		if err == nil {
			err = s.step(&step)
		}
		if err != nil {
			s.missMarks(steps[submissionSize:], err)
			return done, err
		}
		done++
	}
	return done, nil
}

// step is perform for all of a write, not part of it.
func (s *nativeServer) step(e *Submission) error {
	switch e.op() {
	case nativeMark:
		s.mark(e.ID, nil)
		return nil
	case nativeSequence:
		return unix.ELOOP
	}
	for {
		n, err := s.perform(e, func() {})
		if err != nil || e.op() != nativeWrite || uint64(n) == e.Len {
			return err
		}
		if n == 0 {
			return unix.EIO
		}
		e.Buf, e.Len, e.Off = e.Buf+uint64(n), e.Len-uint64(n), e.Off+n
	}
}

// mark completes what waits for a mark, at once.
func (s *nativeServer) mark(id uint64, err error) {
	c := completion{id: id}
	if err != nil {
		c.errno = errnoFor(err)
	}
	s.complete(&c)
	wake(s.view, wordCQAsleep, wordCQBell)
}

// missMarks completes the marks among steps that will not be reached.
func (s *nativeServer) missMarks(steps []byte, err error) {
	le := binary.LittleEndian
	for ; len(steps) > 0; steps = steps[submissionSize:] {
		if nativeOp(le.Uint32(steps[8:])) == nativeMark {
			s.mark(le.Uint64(steps), err)
		}
	}
}

var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// copyRange copies n bytes between files. Not by copy_file_range(2), which on
// some file systems makes the two share their blocks: writing to either would
// then need space that has been reserved before.
func copyRange(dst, src int, dstOff, srcOff, n int64) (int64, error) {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	for done := int64(0); done < n; {
		k, err := readAt(src, buf[:min(n-done, int64(len(buf)))], srcOff+done)
		if err != nil {
			return done, err
		}
		if k == 0 {
			return done, unix.ENODATA // the source is shorter than that
		}
		for rest := buf[:k]; len(rest) > 0; {
			w, err := writeAt(dst, rest, dstOff+done)
			if err != nil {
				return done, err
			}
			if w == 0 {
				return done, unix.EIO
			}
			rest, done = rest[w:], done+int64(w)
		}
	}
	return n, nil
}
