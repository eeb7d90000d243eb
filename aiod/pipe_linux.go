package aiod

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// pipeChannel is the original's: offsets of requests go through the pipe or
// the socket and come back through the socket, 8 bytes each.
type pipeChannel struct {
	requests int // the pipe's write end, or the socket
	socket   int
	ownPipe  bool // requests is to be closed
	out      []byte
	in       [(maxInFlight + 1) * msgSize]byte
}

func (p *pipeChannel) send(requests []uint64) error {
	p.out = p.out[:0]
	for _, r := range requests {
		p.out = binary.LittleEndian.AppendUint64(p.out, r)
	}
	for out := p.out; len(out) > 0; {
		n, err := writeAt(p.requests, out, -1)
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

func (p *pipeChannel) receive(replies []uint64) (int, error) {
	if p.requests == p.socket {
		if err := awaitInput(p.socket); err != nil {
			return 0, fmt.Errorf("%w: wait for replies: %w", ErrDied, err)
		}
	}
	n, err := readAt(p.socket, p.in[:len(replies)*msgSize], -1)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: read replies: %w", ErrDied, err)
	case n == 0:
		return 0, ErrDied
	case n%msgSize != 0:
		return 0, fmt.Errorf("%w: %d bytes of replies", ErrProtocol, n)
	}
	for i := range n / msgSize {
		replies[i] = binary.LittleEndian.Uint64(p.in[i*msgSize:])
	}
	return n / msgSize, nil
}

func (p *pipeChannel) finish() {
	p.closePipe()
	unix.Shutdown(p.socket, unix.SHUT_RDWR)
}

func (p *pipeChannel) closePipe() {
	if p.ownPipe {
		unix.Close(p.requests)
		p.ownPipe = false
	}
}

func (p *pipeChannel) close() {
	p.closePipe()
	unix.Close(p.socket)
}
