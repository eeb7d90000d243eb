package shmring

import (
	"context"
	"runtime/debug"

	"loomstore/internal/mapping"
)

// Producer is the one pushing end of a ring. It belongs to one goroutine at a
// time; Pair.Close alone may be called beside it.
//
// Messages are 1 to MaxMessage bytes. What was published when a call returns
// is in shared memory, in order: it outlives this process, not the machine.
type Producer struct {
	end
	writer
}

// NewProducer returns the producer of a ring in memory, without a pair around
// it: a full ring is polled, a dead peer not noticed. The view must be
// ObjectSize bytes long and hold a ring; zero bytes are an empty one. A ring
// that is corrupt is a *CorruptError.
func NewProducer(view *mapping.View) (*Producer, error) {
	w, err := newWriter(view)
	if err != nil {
		return nil, err
	}
	return &Producer{end: newEnd(view), writer: w}, nil
}

// TryPush publishes a copy of message, and whatever was reserved before it. It
// returns ErrFull where the message does not fit now, ErrEmptyMessage or
// ErrTooLong where it never will, ErrClosed after CloseWrite or Close, and a
// *CorruptError when the peer's offset is impossible.
func (p *Producer) TryPush(message []byte) (err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	if err := p.add(message); err != nil {
		return err
	}
	p.publish()
	return nil
}

// Push is TryPush that waits for room. Instead of ErrFull it returns the
// context's error, or ErrPeerDead or ErrPeerGone when nobody is left to make
// room; the message is not published then. What was reserved before it is
// published before the wait.
func (p *Producer) Push(ctx context.Context, message []byte) (err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	for {
		err := p.add(message)
		if err == nil {
			p.publish()
			return nil
		}
		if err != ErrFull {
			return err
		}
		p.publish() // what was reserved: else room for both may never become free
		if err := p.awaitRoom(ctx, slotSize(markSize+uint32(len(message)))); err != nil {
			return err
		}
	}
}

// PushBatch pushes all messages, publishing many at once: one store and one
// wake-up for up to a quarter of the ring, so that the peer can begin while
// the rest is copied. It returns how many it published, and Push's error if
// those are not all.
func (p *Producer) PushBatch(ctx context.Context, messages [][]byte) (n int, err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	for n < len(messages) {
		if err = p.usable(); err != nil {
			return n, err
		}
		added := 0
		for n+added < len(messages) && distance(p.push, p.writer.end) < portion {
			if k := p.gather(messages[n+added:]); k > 0 {
				added += k
				continue
			}
			if err = p.add(messages[n+added]); err != nil {
				break
			}
			added++
		}
		p.publish()
		n += added
		if err == nil {
			continue
		}
		if err != ErrFull {
			return n, err
		}
		if err = p.awaitRoom(ctx, slotSize(markSize+uint32(len(messages[n])))); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Reserve makes room for a message of n bytes, waiting like Push, and returns
// the room itself, in two parts where the ring's buffer ends in between. Fill
// both, then call Commit. Several messages may be reserved before one Commit;
// ErrFull reports that they do not fit together. The memory is shared: the
// peer can read and change it, and storing into it faults if the peer
// truncates the object (debug.SetPanicOnFault makes that a panic).
func (p *Producer) Reserve(ctx context.Context, n int) (head, tail []byte, err error) {
	if slot := slotSize(markSize + uint32(n)); 0 < n && n <= MaxMessage && slot <= p.free() && p.usable() == nil {
		head, tail = p.reserve(uint32(n)) // no shared memory is touched: no fault to guard against
		return head, tail, nil
	}
	return p.awaitPlace(ctx, n)
}

// awaitPlace is Reserve where the room is not known to be there.
func (p *Producer) awaitPlace(ctx context.Context, n int) (head, tail []byte, err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	for {
		head, tail, err = p.take(n)
		if err != ErrFull {
			return head, tail, err
		}
		slot := slotSize(markSize + uint32(n))
		if p.neverFits(slot) {
			return nil, nil, ErrFull
		}
		if err := p.awaitRoom(ctx, slot); err != nil {
			return nil, nil, err
		}
	}
}

// Commit publishes every reserved message at once.
func (p *Producer) Commit() (err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	if err := p.usable(); err != nil {
		return err
	}
	p.publish()
	return nil
}

// CloseWrite ends the stream: the peer's consumer gets io.EOF behind the last
// message, while the other direction goes on. It waits for room, so that the
// end is not lost when the ring is full; after an error it may be called
// again. Reserved messages are published. Later calls return ErrClosed.
func (p *Producer) CloseWrite(ctx context.Context) (err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	if p.final != nil {
		return p.final
	}
	if err := p.prepare(opClose); err != nil {
		return err
	}
	for {
		if err = p.usable(); err != nil {
			break
		}
		var ok bool
		if ok, err = p.fits(slotSize(markSize)); ok || err != nil {
			break
		}
		p.publish() // what was reserved: only then can room become free
		if err = p.awaitRoom(ctx, slotSize(markSize)); err != nil {
			break
		}
	}
	if err != nil {
		p.abort()
		return err
	}
	p.reserve(0)
	p.publish()
	p.lifecycle.commit()
	if err := p.prepare(opClosed); err != nil {
		return err
	}
	p.lifecycle.commit()
	return nil
}

// Drain waits until the peer has popped everything that was published, an end
// of stream included. It returns what Push returns when that will not happen.
func (p *Producer) Drain(ctx context.Context) (err error) {
	defer p.leave(debug.SetPanicOnFault(true), &err)
	if p.final != nil {
		return p.final
	}
	var failed error
	drained := func() bool {
		failed = p.refresh()
		return failed != nil || p.writer.pop == p.push
	}
	if err := p.await(ctx, capacity-spare, drained, drained); err != nil {
		return err
	}
	return failed
}

// add reserves a record and fills it.
func (p *Producer) add(message []byte) error {
	if err := p.usable(); err != nil {
		return err
	}
	if p.put(message) {
		return nil
	}
	head, tail, err := p.take(len(message))
	if err != nil {
		return err
	}
	copy(head, message)
	if len(tail) > 0 {
		copy(tail, message[len(head):])
	}
	return nil
}

// take reserves a record that fits now.
func (p *Producer) take(n int) (head, tail []byte, err error) {
	if err := p.usable(); err != nil {
		return nil, nil, err
	}
	if n > MaxMessage {
		return nil, nil, ErrTooLong
	}
	if n <= 0 {
		return nil, nil, ErrEmptyMessage
	}
	if ok, err := p.fits(slotSize(markSize + uint32(n))); err != nil {
		return nil, nil, err
	} else if !ok {
		return nil, nil, ErrFull
	}
	head, tail = p.reserve(uint32(n))
	return head, tail, nil
}

func (p *Producer) publish() {
	p.writer.commit()
	p.rouse(capacity)
}

// awaitRoom waits until slot bytes are free. It asks to be woken for a quarter
// of the ring at least: two ends on one processor would otherwise change turns
// for every message.
func (p *Producer) awaitRoom(ctx context.Context, slot uint32) error {
	room := func() bool {
		ok, err := p.fits(slot)
		return ok || err != nil // the caller meets the error when it tries
	}
	return p.await(ctx, max(slot, capacity/4), room, room)
}
