package shmring

import (
	"encoding/binary"
	"os"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// floor is a plain single-producer ring over shared memory, as fast as Go
// makes it and nothing else: head and tail on lines of their own, cached
// indices, copy in, copy out, spinning, no checks.
type floor struct {
	view    *mapping.View
	in, out floorEnd
}

const floorSize = 65536

type floorEnd struct {
	head, tail       *atomic.Uint64
	buf              []byte
	own, cachedOther uint64
}

func newFloor(name string, first bool) (line, error) {
	file := "/dev/shm/" + namePrefix + name + pushSuffix
	flags := os.O_RDWR
	if first {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(file, flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const each = 4096 + floorSize
	if first {
		if err := f.Truncate(2 * each); err != nil {
			return nil, err
		}
	}
	view, err := mapping.MapShared(f.Fd(), 0, 2*each, true)
	if err != nil {
		return nil, err
	}
	end := func(at int) floorEnd {
		return floorEnd{head: view.Uint64(at), tail: view.Uint64(at + 128), buf: view.Bytes()[at+4096 : at+each]}
	}
	fl := &floor{view: view, out: end(0), in: end(each)}
	if !first {
		fl.out, fl.in = fl.in, fl.out
	}
	return fl, nil
}

func floorSlot(n int) uint64 { return uint64(8+n+7) &^ 7 }

func (e *floorEnd) push(m []byte) {
	slot := floorSlot(len(m))
	for e.own+slot-e.cachedOther > floorSize {
		e.cachedOther = e.tail.Load()
	}
	at := e.own % floorSize
	binary.LittleEndian.PutUint64(e.buf[at:], uint64(len(m)))
	at = (at + 8) % floorSize
	if k := copy(e.buf[at:], m); k < len(m) {
		copy(e.buf, m[k:])
	}
	e.own += slot
	e.head.Store(e.own)
}

func (e *floorEnd) pop(buf []byte) int {
	for e.own == e.cachedOther {
		e.cachedOther = e.head.Load()
	}
	at := e.own % floorSize
	n := int(binary.LittleEndian.Uint64(e.buf[at:]))
	at = (at + 8) % floorSize
	if k := copy(buf[:n], e.buf[at:]); k < n {
		copy(buf[k:n], e.buf)
	}
	e.own += floorSlot(n)
	e.tail.Store(e.own)
	return n
}

func (f *floor) send(n, size int) error {
	m := message(size, 7)
	for range n {
		f.out.push(m)
	}
	return nil
}

func (f *floor) receive(n, size int) error {
	buf := make([]byte, size)
	for range n {
		f.in.pop(buf)
	}
	return nil
}

func (f *floor) turn(n, size int) error {
	m, buf := message(size, 7), make([]byte, size)
	for range n {
		f.out.push(m)
		f.in.pop(buf)
	}
	return nil
}

func (f *floor) answer(n, size int) error {
	buf := make([]byte, size)
	for range n {
		f.out.push(buf[:f.in.pop(buf)])
	}
	return nil
}

func (f *floor) Close() error { return f.view.Close() }
