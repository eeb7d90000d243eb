package vmbusring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"loomstore/vmbusring/signal"
)

// Signal wakes the other end of a channel and waits for it to wake us. Package
// signal has implementations and says what the methods promise.
type Signal interface {
	Notify() error
	Wait(ctx context.Context) error
	Close() error
}

// Options change how a Channel behaves. nil means the defaults.
type Options struct {
	// MaxPacket bounds the bytes of a packet that the peer sends, between
	// descriptor and trailer. A longer one counts as corruption. 0 means the
	// size of the ring.
	MaxPacket int
	// Release gives the rings' memory back. It runs once, after the last
	// access to it.
	Release func() error
}

// Stats count the signals of a channel.
type Stats struct {
	Sent     uint64 // to the peer
	Received uint64 // from the peer
}

// pollInterval is how often a full ring is looked at if its reader does not
// say that it signals for a pending send size.
const pollInterval = time.Millisecond

// Channel is one end of a pair of rings with its signal: packets in both
// directions, and a context on every wait. It may be used by many goroutines;
// those that receive take turns, and so do those that send.
//
// The first thing that goes wrong for good ends the channel: the peer broke
// the protocol (*CorruptError), the signal failed (signal.ErrRevoked), or
// Close. All calls report it from then on, the rings are not touched any more,
// and their memory is released as soon as the last call has left it.
type Channel struct {
	in      *Reader
	out     *Writer
	signal  Signal
	release func() error

	receiving, sending turn
	readable, writable chan struct{} // a signal came

	ctx      context.Context // ends with the channel
	cancel   context.CancelFunc
	failOnce sync.Once
	failed   error         // valid once ctx is done
	released chan struct{} // the listener is gone, and so is the memory
	closing  error         // valid once released is closed

	sent, received atomic.Uint64
}

// NewChannel returns a channel that reads from in and writes to out. It owns
// sig. A goroutine listens to it until the channel ends: call Close.
func NewChannel(in, out Memory, sig Signal, o *Options) (*Channel, error) {
	if o == nil {
		o = &Options{}
	}
	if o.MaxPacket < 0 {
		return nil, fmt.Errorf("packets of at most %d bytes: %w", o.MaxPacket, ErrInvalid)
	}
	r, err := NewReader(in, o.MaxPacket)
	if err != nil {
		return nil, fmt.Errorf("open the incoming ring: %w", err)
	}
	w, err := NewWriter(out)
	if err != nil {
		return nil, fmt.Errorf("open the outgoing ring: %w", err)
	}
	c := &Channel{
		in: r, out: w, signal: sig, release: o.Release,
		receiving: newTurn(), sending: newTurn(),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
		released: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.listen()
	return c, nil
}

// Pair returns both ends of a channel inside this process, over rings of size
// data bytes each: a device and the fake host it is tested with.
func Pair(size int, o *Options) (guest, host *Channel, err error) {
	toHost, err := NewFlat(size)
	if err != nil {
		return nil, nil, err
	}
	toGuest, err := NewFlat(size)
	if err != nil {
		return nil, nil, err
	}
	a, b := signal.NewLocal()
	guest, err = NewChannel(toGuest, toHost, a, o)
	if err != nil {
		return nil, nil, err
	}
	host, err = NewChannel(toHost, toGuest, b, o)
	if err != nil {
		return nil, nil, errors.Join(err, guest.Close())
	}
	return guest, host, nil
}

// Receive waits until there is at least one packet, reads up to len(ps) and
// gives their room back in one go. It returns how many it read.
func (c *Channel) Receive(ctx context.Context, ps []Packet) (n int, err error) {
	if len(ps) == 0 {
		return 0, nil
	}
	err = c.consume(ctx, nil, func(r *Reader) error {
		n, err = r.ReadBatch(ps)
		return err
	})
	return n, err
}

// Send writes the packets in order, as many at a time as fit, and waits for
// room for the others. It returns how many were published.
func (c *Channel) Send(ctx context.Context, ps ...*Packet) (n int, err error) {
	err = c.produce(ctx, nil, func(w *Writer) (int, error) {
		for n < len(ps) {
			if err := w.Append(ps[n]); err != nil {
				return ps[n].PacketSize(0), err
			}
			n++
		}
		return 0, nil
	})
	return n, err
}

// Stats returns the counters.
func (c *Channel) Stats() Stats { return Stats{Sent: c.sent.Load(), Received: c.received.Load()} }

// Done is closed when the channel has ended; Err tells why.
func (c *Channel) Done() <-chan struct{} { return c.ctx.Done() }

// Err returns why the channel has ended, or nil.
func (c *Channel) Err() error {
	if c.ctx.Err() == nil {
		return nil
	}
	return c.failed
}

// Close ends the channel, waits until nobody uses the rings any more, and
// releases them. Calls that wait return ErrClosed.
func (c *Channel) Close() error {
	c.fail(ErrClosed)
	<-c.released
	return c.closing
}

// consume runs take, which reads packets, until it returns something else
// than ErrEmpty, and waits for the peer in between. What take read and did not
// put back is committed.
func (c *Channel) consume(ctx context.Context, expired <-chan struct{}, take func(*Reader) error) error {
	w := waiter{ctx: ctx, expired: expired, channel: c}
	if err := w.take(c.receiving); err != nil {
		return err
	}
	defer c.receiving.leave()
	for {
		if err := w.check(); err != nil {
			return err
		}
		c.in.SetInterruptMask(true)
		err := take(c.in)
		if c.in.Commit() {
			c.notify()
		}
		if !errors.Is(err, ErrEmpty) {
			return c.failIfCorrupt(err)
		}
		// Never assume that the mask keeps its value: after each event it is
		// stored anew, then the ring is looked at, and only then we sleep.
		c.in.SetInterruptMask(false)
		ready, err := c.in.CanRead()
		if err != nil {
			return c.failIfCorrupt(err)
		}
		if ready {
			continue
		}
		if err := w.wait(c.readable, nil); err != nil {
			return err
		}
	}
}

// produce runs put, which appends packets, until it returns something else
// than ErrFull, and waits for the room that put says it needs in between. What
// put appended is committed each time.
func (c *Channel) produce(ctx context.Context, expired <-chan struct{}, put func(*Writer) (need int, err error)) error {
	w := waiter{ctx: ctx, expired: expired, channel: c}
	if err := w.take(c.sending); err != nil {
		return err
	}
	defer c.sending.leave()
	for {
		if err := w.check(); err != nil {
			return err
		}
		c.out.clearPending()
		need, err := put(c.out)
		if c.out.Commit() {
			c.notify()
		}
		if !errors.Is(err, ErrFull) {
			return c.failIfCorrupt(err)
		}
		if err := c.out.SetPending(c.out.pendingFor(need)); err != nil {
			return err
		}
		fits, err := c.out.CanWrite(need)
		if err != nil {
			return c.failIfCorrupt(err)
		}
		if fits {
			continue
		}
		if err := w.wait(c.writable, c.pollWithoutPending()); err != nil {
			if c.ctx.Err() == nil {
				c.out.clearPending()
			}
			return err
		}
	}
}

// pollWithoutPending returns a tick to look at the ring again if its reader
// may never signal, and nil if it will: it says so in the ring it writes.
func (c *Channel) pollWithoutPending() <-chan time.Time {
	if c.in.control.FeatureBits.Load()&FeaturePending != 0 {
		return nil
	}
	return time.After(pollInterval)
}

func (c *Channel) notify() {
	if err := c.signal.Notify(); err != nil {
		c.fail(err)
		return
	}
	c.sent.Add(1)
}

func (c *Channel) failIfCorrupt(err error) error {
	if errors.Is(err, ErrCorrupt) {
		c.fail(err)
	}
	return err
}

func (c *Channel) fail(err error) {
	c.failOnce.Do(func() {
		c.failed = err
		c.cancel()
	})
}

// listen passes signals on to whoever waits. When the channel has ended, it
// lets the last users leave and releases the memory: a fault on a mapping that
// is gone can not be recovered.
func (c *Channel) listen() {
	for {
		if err := c.signal.Wait(c.ctx); err != nil {
			c.fail(err)
			break
		}
		c.received.Add(1)
		wake(c.readable)
		wake(c.writable)
	}
	c.receiving <- struct{}{}
	c.sending <- struct{}{}
	if c.release != nil {
		c.closing = c.release()
	}
	c.closing = errors.Join(c.closing, c.signal.Close())
	c.receiving.leave()
	c.sending.leave()
	close(c.released)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// turn is a lock that can be waited for with a context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) leave() { <-t }

// waiter is one call that may have to wait, with all that may end it.
type waiter struct {
	ctx     context.Context
	expired <-chan struct{} // a pipe's deadline
	channel *Channel
}

// check returns why the call must not go on, or nil.
func (w *waiter) check() error {
	select {
	case <-w.channel.ctx.Done():
		return w.channel.failed
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-w.expired:
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

func (w *waiter) take(t turn) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-w.channel.ctx.Done():
	case <-w.ctx.Done():
	case <-w.expired:
	}
	return w.check()
}

func (w *waiter) wait(event <-chan struct{}, tick <-chan time.Time) error {
	select {
	case <-event:
		return nil
	case <-tick:
		return nil
	case <-w.channel.ctx.Done():
	case <-w.ctx.Done():
	case <-w.expired:
	}
	return w.check()
}
