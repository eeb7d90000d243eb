package wasm

import (
	"errors"
	"fmt"
)

var errShort = errors.New("unexpected end")

// reader reads a module's binary. The first error sticks: every later read
// returns zero, so that a parser checks once, after its loop's condition.
type reader struct {
	b   []byte
	off int // of b[0] in the binary, for messages
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("offset %d: %w", r.off, err)
	}
	r.b = nil
}

func (r *reader) done() bool { return len(r.b) == 0 }

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b, r.off = r.b[n:], r.off+int(n)
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// leb reads a LEB128 number of up to bits bits; signed and unsigned ones have
// the same length, and the callers that skip need no more.
func (r *reader) leb(bits int) uint64 {
	var v uint64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	if r.err == nil {
		r.fail(errors.New("number too long"))
	}
	return 0
}

func (r *reader) u32() uint64 { return r.leb(32) & 0xffffffff }

// section returns a reader for the next n bytes.
func (r *reader) section(n uint64) *reader {
	off := r.off
	b := r.bytes(n)
	return &reader{b: b, off: off, err: r.err}
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

// each calls f once per entry of a vector. The count is not trusted: it stops
// with the bytes.
func (r *reader) each(f func(i uint64)) {
	n := r.u32()
	for i := uint64(0); i < n && r.err == nil; i++ {
		if r.done() {
			r.fail(errShort)
			return
		}
		f(i)
	}
}
