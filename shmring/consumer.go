package shmring

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"loomstore/internal/mapping"
)

// Consumer is the one popping end of a ring. It belongs to one goroutine at a
// time; Pair.Close alone may be called beside it.
//
// At the end of the stream every call returns io.EOF; whatever a peer pushes
// behind that is not looked at (D14).
type Consumer struct {
	end
	reader
}

// NewConsumer returns the consumer of a ring in memory, without a pair around
// it: an empty ring is polled, a dead peer not noticed. See NewProducer.
func NewConsumer(view *mapping.View) (*Consumer, error) {
	r, err := newReader(view)
	if err != nil {
		return nil, err
	}
	return &Consumer{end: newEnd(view), reader: r}, nil
}

// TryPop copies the next message into buf and gives its room back, with that
// of all messages peeked before. It returns the message's length; with
// ErrShortBuffer that is more than buf holds, and the message stays. Other
// errors: ErrEmpty, io.EOF, ErrClosed after Close, and a *CorruptError when
// the peer's offset or record is impossible.
func (c *Consumer) TryPop(buf []byte) (n int, err error) {
	defer c.leave(debug.SetPanicOnFault(true), &err)
	return c.take(buf)
}

// Pop is TryPop that waits for a message. Instead of ErrEmpty it returns the
// context's error, or ErrPeerDead or ErrPeerGone when nothing is left and
// nobody is there to push.
// What was peeked before it is given back before the wait.
func (c *Consumer) Pop(ctx context.Context, buf []byte) (n int, err error) {
	defer c.leave(debug.SetPanicOnFault(true), &err)
	for {
		n, err = c.take(buf)
		if err != ErrEmpty {
			return n, err
		}
		c.giveBackPeeked()
		if err := c.awaitRecord(ctx); err != nil {
			return 0, err
		}
	}
}

// PopBatch copies messages one behind the other into buf, sets ends[i] to
// where message i ends in it, and gives the room of many back at once. It
// waits like Pop for the first message and takes what else is there, while buf
// and ends have room. ErrShortBuffer: the first message does not fit.
func (c *Consumer) PopBatch(ctx context.Context, buf []byte, ends []int) (n int, err error) {
	defer c.leave(debug.SetPanicOnFault(true), &err)
	if err := c.usable(); err != nil {
		return 0, err
	}
	at := 0
	for n < len(ends) {
		length, ok := c.get(buf[at:])
		var err error
		if !ok {
			length, err = c.copyNext(buf[at:])
		}
		switch {
		case err == nil:
			at += length
			ends[n] = at
			n++
			if distance(c.reader.pop, c.next) >= portion {
				c.giveBack()
			}
			continue
		case n > 0: // also an error: the next call meets it again
			c.giveBack()
			return n, nil
		case err != ErrEmpty:
			return 0, err
		}
		c.giveBackPeeked()
		if err := c.awaitRecord(ctx); err != nil {
			return 0, err
		}
	}
	c.giveBack()
	return n, nil
}

// Peek returns the next message where it lies, in two parts where the ring's
// buffer ends in between, waiting like Pop. Several messages may be peeked
// before Release, which ends the life of all their bytes; until then they hold
// room that the next message may need. The memory is shared: the peer can
// change it while it is read, so copy first what must be checked, and reading
// it faults if the peer truncates the object (debug.SetPanicOnFault makes that
// a panic).
func (c *Consumer) Peek(ctx context.Context) (head, tail []byte, err error) {
	defer c.leave(debug.SetPanicOnFault(true), &err)
	for {
		var slot uint32
		head, tail, slot, err = c.message()
		if err == nil {
			c.skip(slot)
			return head, tail, nil
		}
		if err != ErrEmpty {
			return nil, nil, err
		}
		if err := c.awaitRecord(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// Release gives the room of every peeked message back to the producer.
func (c *Consumer) Release() (err error) {
	defer c.leave(debug.SetPanicOnFault(true), &err)
	if c.abandoned() {
		return ErrClosed
	}
	c.giveBack()
	return nil
}

// take takes one message that is there.
func (c *Consumer) take(buf []byte) (int, error) {
	n, err := c.copyNext(buf)
	if err == nil {
		c.giveBack()
	}
	return n, err
}

// copyNext copies the next message and skips it.
func (c *Consumer) copyNext(buf []byte) (int, error) {
	if err := c.usable(); err != nil {
		return 0, err
	}
	if n, ok := c.get(buf); ok {
		return n, nil
	}
	head, tail, slot, err := c.message()
	if err != nil {
		return 0, err
	}
	n := len(head) + len(tail)
	if n > len(buf) {
		return n, ErrShortBuffer
	}
	copy(buf, head)
	if len(tail) > 0 {
		copy(buf[len(head):], tail)
	}
	c.skip(slot)
	return n, nil
}

// message is peek that takes the end of the stream for what it is.
func (c *Consumer) message() (head, tail []byte, slot uint32, err error) {
	if err := c.usable(); err != nil {
		return nil, nil, 0, err
	}
	kind, head, tail, slot, err := c.peek()
	if err == nil && kind == eofRecord {
		return nil, nil, 0, c.endStream(slot)
	}
	return head, tail, slot, err
}

// endStream takes the end of the stream: this direction closes, the other does not.
func (c *Consumer) endStream(slot uint32) error {
	whole := c.next == c.reader.pop // else Release gives it back with what was peeked
	c.skip(slot)
	if whole {
		c.giveBack()
	}
	c.final = io.EOF
	for _, op := range []operation{opClose, opClosed} {
		if err := c.prepare(op); err != nil {
			return err
		}
		c.lifecycle.commit()
	}
	return io.EOF
}

// giveBackPeeked gives back what a caller peeked who wants copies now: else the
// next message may never find room.
func (c *Consumer) giveBackPeeked() {
	if c.next != c.reader.pop {
		c.giveBack()
	}
}

func (c *Consumer) giveBack() {
	c.release()
	c.rouse(capacity - spare - distance(c.reader.pop, c.push))
}

func (c *Consumer) awaitRecord(ctx context.Context) error {
	err := c.await(ctx, 1, c.glance, c.ready)
	if err == ErrPeerDead && c.pending() {
		return fmt.Errorf("unfinished message: %w", err)
	}
	return err
}
