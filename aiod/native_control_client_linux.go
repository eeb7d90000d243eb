package aiod

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// control is the client's end of the control socket.
type control struct {
	socket int
	room   credits

	callMu sync.Mutex
	calls  map[uint64]*controlCall
	last   uint64
	hung   bool // the socket is closed
}

// controlCall is an operation on names in flight.
type controlCall struct {
	done   chan struct{}
	gone   bool // nobody waits; late gets the answer
	late   func(controlAnswer, int)
	answer controlAnswer
	fd     int // that came with the answer, or -1
	err    error
}

// call carries out r. A descriptor goes along unless pass is -1. If ctx ends
// before the answer, late gets it.
func (c *control) call(ctx context.Context, r controlRequest, pass int, late func(controlAnswer, int)) (controlAnswer, int, error) {
	if err := c.room.take(ctx, 1); err != nil {
		return controlAnswer{}, -1, err
	}
	k := &controlCall{done: make(chan struct{}), fd: -1, late: late}
	c.callMu.Lock()
	if c.hung {
		c.callMu.Unlock()
		c.room.give(1)
		return controlAnswer{}, -1, ErrDied
	}
	c.last++
	r.id = c.last
	c.calls[r.id] = k
	err := sendMessage(c.socket, r.encode(), pass)
	if err != nil {
		delete(c.calls, r.id)
	}
	c.callMu.Unlock()
	if err != nil {
		c.room.give(1)
		return controlAnswer{}, -1, fmt.Errorf("%w: send: %w", ErrDied, err)
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		c.callMu.Lock()
		defer c.callMu.Unlock()
		select {
		case <-k.done:
		default:
			k.gone = true
			return controlAnswer{}, -1, ctx.Err()
		}
	}
	if k.err == nil && k.answer.errno != 0 {
		k.err = unix.Errno(k.answer.errno)
	}
	return k.answer, k.fd, k.err
}

// listen takes answers until the server hangs up. It owns the socket's end.
func (c *control) listen(l *life) {
	buf := make([]byte, controlReplyMax)
	for {
		n, fds, err := receiveMessage(c.socket, buf, 1)
		if err == nil {
			err = c.answered(buf[:n], fds)
		}
		if err != nil {
			break
		}
	}
	c.closeSocket()
	c.callMu.Lock()
	for id, k := range c.calls {
		delete(c.calls, id)
		k.err = ErrDied
		close(k.done)
		c.room.give(1)
	}
	c.callMu.Unlock()
	l.link.mu.Lock()
	l.link.fail(ErrDied) // also when it only broke the rules
	l.link.mu.Unlock()
	l.ring.end()
}

func (c *control) answered(b []byte, fds []int) error {
	a, err := decodeAnswer(b)
	if err != nil {
		closeAll(fds)
		return err
	}
	a.payload = append([]byte(nil), a.payload...)
	c.callMu.Lock()
	defer c.callMu.Unlock()
	k := c.calls[a.id]
	if k == nil {
		closeAll(fds)
		return fmt.Errorf("%w: answer to %d, which nobody asked", ErrProtocol, a.id)
	}
	delete(c.calls, a.id)
	c.room.give(1)
	k.answer = a
	if len(fds) > 0 {
		k.fd = fds[0]
		closeAll(fds[1:])
	}
	close(k.done)
	if k.gone {
		if k.late != nil {
			go k.late(k.answer, k.fd)
		} else if k.fd >= 0 {
			unix.Close(k.fd)
		}
	}
	return nil
}

// hangUp tells the server that nothing more comes.
func (c *control) hangUp() {
	c.callMu.Lock()
	defer c.callMu.Unlock()
	if !c.hung {
		unix.Shutdown(c.socket, unix.SHUT_RDWR)
	}
}

func (c *control) closeSocket() {
	c.callMu.Lock()
	defer c.callMu.Unlock()
	c.hung = true
	unix.Close(c.socket)
}
