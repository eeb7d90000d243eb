package shmring

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"loomstore/internal/mapping"
)

// upstream is a peer that does what the original's code does, step by step
// (spec section 1, "Push" and "Pop"), its defects included: the other end of
// every test that says ours works against it.
type upstream struct {
	push, pop upstreamRing
	name      string
	creator   bool
	asserts   bool // a debug build: its assertions become errors
}

type upstreamRing struct {
	view *mapping.View
	ring *upstream
}

var errUpstreamPanic = errors.New("upstream panics")

// upstreamCreate makes both objects as upstream does: with names first.
func upstreamCreate(t testing.TB, name string) *upstream {
	t.Helper()
	for _, suffix := range []string{pushSuffix, popSuffix} {
		f, err := os.OpenFile(path(name, suffix), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(ObjectSize); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	u := &upstream{name: name, creator: true}
	u.push.view, u.pop.view = mapObject(t, name, pushSuffix), mapObject(t, name, popSuffix)
	u.push.ring, u.pop.ring = u, u
	for _, r := range []upstreamRing{u.push, u.pop} {
		r.view.Uint64(popAt).Store(0)
		r.view.Uint64(pushAt).Store(0)
		r.swap(0, 0)
	}
	return u
}

// upstreamOpen attaches, and zeroes the first length of both rings (D1).
func upstreamOpen(t testing.TB, name string) *upstream {
	t.Helper()
	u := &upstream{name: name}
	u.push.view, u.pop.view = mapObject(t, name, popSuffix), mapObject(t, name, pushSuffix)
	u.push.ring, u.pop.ring = u, u
	u.push.swap(0, 0)
	u.pop.swap(0, 0)
	return u
}

func mapObject(t testing.TB, name, suffix string) *mapping.View {
	t.Helper()
	f, err := os.OpenFile(path(name, suffix), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	view, err := mapping.MapShared(f.Fd(), 0, ObjectSize, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = view.Close() })
	return view
}

// swap is a 16-bit exchange at a record offset.
func (r upstreamRing) swap(off uint32, v uint16) uint16 {
	at := bufferAt + off
	word, shift := r.view.Uint32(int(at&^3)), 8*(at&2)
	for {
		old := word.Load()
		if word.CompareAndSwap(old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return uint16(old >> shift)
		}
	}
}

func (r upstreamRing) offsets() (pop, push *atomic.Uint64) {
	return r.view.Uint64(popAt), r.view.Uint64(pushAt)
}

// tryPush pushes one raw record.
func (r upstreamRing) tryPush(record []byte) error {
	if len(record) == 0 || len(record) >= 65536 {
		return syscall.EINVAL
	}
	popWord, pushWord := r.offsets()
	old := uint32(pushWord.Load())
	slot := slotSize(uint32(len(record)))
	if slot > capacity-spare-distance(uint32(popWord.Load()), old) {
		return syscall.EAGAIN
	}
	end := advance(old, slot)
	if !pushWord.CompareAndSwap(uint64(old), uint64(end)) {
		return syscall.EAGAIN
	}
	r.swap(end, 0)
	buffer := r.view.Bytes()[bufferAt:]
	head, tail := split(buffer, advance(old, lengthSize), uint32(len(record)))
	copy(tail, record[copy(head, record):])
	if was := r.swap(old, uint16(len(record))); was != 0 && r.ring.asserts {
		return errUpstreamPanic
	}
	return nil
}

// tryPop pops one raw record into buf.
func (r upstreamRing) tryPop(buf []byte) (int, error) {
	popWord, _ := r.offsets()
	pop := uint32(popWord.Load())
	length := uint32(r.swap(pop, 0))
	if length == 0 {
		return 0, syscall.EAGAIN
	}
	if int(length) > len(buf) {
		r.swap(pop, uint16(length))
		return 0, syscall.EINVAL
	}
	head, tail := split(r.view.Bytes()[bufferAt:], advance(pop, lengthSize), length)
	copy(buf[copy(buf, head):], tail)
	if !popWord.CompareAndSwap(uint64(pop), uint64(advance(pop, slotSize(length)))) {
		return 0, errUpstreamPanic
	}
	return int(length), nil
}

var (
	dataHeader = []byte{0x0b, 0x0e, 0x0e, 0x0f}
	eofHeader  = []byte{0x0d, 0x0e, 0x0a, 0x0d}
)

// send pushes a message, or the end of the stream for nil, retrying for ever.
func (u *upstream) send(message []byte, yield func()) error {
	record := append(append([]byte(nil), dataHeader...), message...)
	if message == nil {
		record = eofHeader
	}
	for {
		if err := u.push.tryPush(record); err != syscall.EAGAIN {
			return err
		}
		yield()
	}
}

// receive pops a message, or nil for the end of the stream.
func (u *upstream) receive(buf []byte, yield func()) ([]byte, error) {
	for {
		n, err := u.pop.tryPop(buf)
		if err == syscall.EAGAIN {
			yield()
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == markSize {
			return nil, nil
		}
		return buf[markSize:n], nil
	}
}

// drop is upstream's destructor.
func (u *upstream) drop() {
	if u.creator {
		removeObjects(u.name)
	}
}
