package aiod

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

const openDir = unix.O_RDONLY | unix.O_DIRECTORY

// compat drives daemons that speak one of the original's ABIs: ours, or the
// original itself. One daemon is asked through the pipe. Several are asked
// through their sockets, each request by one of them and all requests of a
// file by the one that opened it: that way it is known what a dead daemon was
// doing, and the original's troubles with several daemons (a file opened again
// by its path, an offset or a listing in each) do not arise.
type compat struct {
	path    string
	opts    Options
	umask   uint32
	shm     *os.File // of this side; daemons get descriptors opened anew
	view    *mapping.View
	pipe    [2]*os.File // of several daemons; a single one has its own
	arena   arena
	daemons []*daemon
	turn    atomic.Uint32 // which daemon is next
	handles atomic.Uint32
}

// daemon is one of the servers, through all its lives.
type daemon struct {
	c  *compat
	mu sync.Mutex
	// link is nil before the first life; a dead one is replaced by the next
	// request.
	link   *link
	closed bool
}

// live returns the link of a running daemon, starting one if need be.
func (d *daemon) live() (*link, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if d.link != nil {
		if !d.link.dead() {
			return d.link, nil
		}
		<-d.link.reaped // it may still be writing to the shared memory
	}
	l, err := d.c.launch()
	if err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	d.link = l
	return l, nil
}

func (c *compat) next() *daemon {
	return c.daemons[int(c.turn.Add(1))%len(c.daemons)]
}

// call is one request in shared memory, with room for data beside it.
type call struct {
	c     *compat
	sizes [2]int
	at    [2]uint64 // of the request, of the data
}

// begin allocates a request of size bytes and, unless 0, room for extra bytes.
func (c *compat) begin(ctx context.Context, op Op, size, extra int) (call, error) {
	wire, ok := c.opts.ABI.encode(op)
	if !ok {
		return call{}, fmt.Errorf("%v in ABI %d: %w", op, c.opts.ABI, errors.ErrUnsupported)
	}
	at, err := c.arena.alloc(ctx, size, extra)
	if err != nil {
		return call{}, err
	}
	k := call{c: c, sizes: [2]int{size, extra}, at: at}
	k.setOp(wire)
	return k, nil
}

func (k *call) mem() []byte             { return k.c.view.Bytes()[k.at[0] : k.at[0]+uint64(k.sizes[0])] }
func (k *call) extra() []byte           { return k.c.view.Bytes()[k.at[1] : k.at[1]+uint64(k.sizes[1])] }
func (k *call) free()                   { k.c.arena.release(k.sizes, k.at) }
func (k *call) put(off int, v uint64)   { binary.LittleEndian.PutUint64(k.mem()[off:], v) }
func (k *call) put32(off int, v uint32) { binary.LittleEndian.PutUint32(k.mem()[off:], v) }
func (k *call) get(off int) uint64      { return binary.LittleEndian.Uint64(k.mem()[off:]) }

// setOp clears err as well, which a daemon writes only on failure.
func (k *call) setOp(wire uint32) {
	k.put32(offOp, wire)
	k.put32(offErr, 0)
}

// err is the daemon's answer.
func (k *call) err() error {
	if errno := binary.LittleEndian.Uint32(k.mem()[offErr:]); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// run asks daemon d and waits for the answer. After an error of run itself the
// call's memory is no longer the caller's. late, if not nil, runs when the
// answer comes after the caller gave up.
func (d *daemon) run(ctx context.Context, k *call, late func()) error {
	b := newBatch(late)
	b.calls = append(b.calls, *k)
	err := d.runBatch(ctx, b)
	if err == nil {
		batches.Put(b)
	}
	return err
}

// batch is calls carried out at the same time.
type batch struct {
	link  *link
	calls []call
	ids   []uint64
	late  func()
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func newBatch(late func()) *batch {
	b := batches.Get().(*batch)
	*b = batch{calls: b.calls[:0], ids: b.ids[:0], late: late}
	return b
}

// runBatch asks daemon d and waits for all answers, with which the calls'
// memory is the caller's again. After an error the batch and its memory are no
// longer the caller's.
func (d *daemon) runBatch(ctx context.Context, b *batch) error {
	l, err := d.live()
	if err != nil {
		b.free()
		return err
	}
	b.link = l
	if err := l.credits.take(ctx, len(b.calls)); err != nil {
		b.free()
		return err
	}
	for i := range b.calls {
		b.ids = append(b.ids, b.calls[i].at[0])
	}
	gone, err := l.roundtrip(ctx, b.ids, b)
	if gone {
		return err
	}
	l.credits.give(len(b.calls))
	if err != nil {
		go b.freeWhenReaped()
	}
	return err
}

// answered comes after the caller gave up.
func (b *batch) answered(err error) {
	b.link.credits.give(len(b.calls))
	if err != nil {
		b.freeWhenReaped()
		return
	}
	if b.late != nil {
		b.late()
	}
	b.free()
}

// freeWhenReaped waits for the death of a daemon that may still be writing.
func (b *batch) freeWhenReaped() {
	<-b.link.reaped
	b.free()
}

func (b *batch) free() {
	for i := range b.calls {
		b.calls[i].free()
	}
}
