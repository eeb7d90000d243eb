package vmbusring

import (
	"context"
	"io"
	"net"
	"os"
	"time"
)

// finSize is what the end of a stream takes in the ring. Writes leave that
// much free, so that CloseWrite never has to wait.
const finSize = descriptorSize + pipeHeaderSize + trailerSize

// BytePipe is a stream of bytes in both directions over a channel (spec
// section 3), as a net.Conn. Reads and writes may run at the same time; two
// reads, or two writes, take turns.
type BytePipe struct {
	channel                     *Channel
	readDeadline, writeDeadline deadline

	decoder  *PipeDecoder // under the channel's receiving turn
	finished bool         // under the channel's sending turn
}

var _ net.Conn = (*BytePipe)(nil)

// NewBytePipe returns the byte pipe on c, which it owns.
func NewBytePipe(c *Channel) *BytePipe {
	return &BytePipe{
		channel:      c,
		decoder:      NewPipeDecoder(PipeByte),
		readDeadline: makeDeadline(), writeDeadline: makeDeadline(),
	}
}

// Read reads what is there, at least one byte; io.EOF when the peer has
// finished its stream, and ever after.
func (b *BytePipe) Read(buf []byte) (int, error) { return b.ReadContext(context.Background(), buf) }

// ReadContext is Read with a context beside the deadline.
func (b *BytePipe) ReadContext(ctx context.Context, buf []byte) (n int, err error) {
	if len(buf) == 0 {
		return 0, nil
	}
	err = b.channel.consume(ctx, b.readDeadline.expired(), func(r *Reader) error {
		n, err = b.decoder.Read(r, buf)
		return err
	})
	return n, err
}

// Write sends buf, waiting for room as needed. It returns how much was sent.
// After CloseWrite it fails with io.ErrClosedPipe.
func (b *BytePipe) Write(buf []byte) (int, error) { return b.WriteContext(context.Background(), buf) }

// WriteContext is Write with a context beside the deadline.
func (b *BytePipe) WriteContext(ctx context.Context, buf []byte) (n int, err error) {
	p := Packet{Type: InBand}
	err = b.produce(ctx, func(w *Writer) (int, error) {
		if b.finished {
			return 0, io.ErrClosedPipe
		}
		for n < len(buf) {
			chunk := buf[n:min(len(buf), n+maxByteChunk)]
			header := pipeHeader(len(chunk))
			p.Payload = header[:]
			need := p.PacketSize(len(chunk)) + finSize
			if err := w.reserve(need); err != nil {
				return need, err
			}
			if err := w.Append(&p, chunk); err != nil {
				return need, err
			}
			n += len(chunk)
		}
		return 0, nil
	})
	return n, err
}

// CloseWrite ends the outgoing stream: the peer reads what was sent, then
// io.EOF. Reading goes on. Doing it twice does nothing.
func (b *BytePipe) CloseWrite() error {
	return b.produce(context.Background(), b.finish)
}

// produce is the channel's, with the pipe's deadline. Close lets that pass to
// get the writers out of its way, which is no timeout of theirs.
func (b *BytePipe) produce(ctx context.Context, put func(*Writer) (need int, err error)) error {
	err := b.channel.produce(ctx, b.writeDeadline.expired(), put)
	if err != os.ErrDeadlineExceeded || !b.writeDeadline.ended() {
		return err
	}
	if failure := b.channel.Err(); failure != nil {
		return failure
	}
	return ErrClosed
}

// finish appends the packet without data that ends the stream.
func (b *BytePipe) finish(w *Writer) (int, error) {
	if b.finished {
		return 0, nil
	}
	header := pipeHeader(0)
	if err := w.Append(&Packet{Type: InBand, Payload: header[:]}); err != nil {
		return finSize, err
	}
	b.finished = true
	return 0, nil
}

// Close ends the outgoing stream if the ring has room for that, and then the
// channel. Waiting calls return an error wrapping net.ErrClosed.
func (b *BytePipe) Close() error {
	b.writeDeadline.end() // whoever is writing makes way, and nobody gets more time
	// The peer can not be made to take it, and a channel that has failed says
	// why to every other call.
	_ = b.channel.produce(context.Background(), nil, func(w *Writer) (int, error) {
		_, _ = b.finish(w)
		return 0, nil
	})
	return b.channel.Close()
}

// SetDeadline sets both deadlines. Zero means none.
func (b *BytePipe) SetDeadline(t time.Time) error {
	b.readDeadline.set(t)
	b.writeDeadline.set(t)
	return nil
}

// SetReadDeadline ends reads at t, waiting ones included.
func (b *BytePipe) SetReadDeadline(t time.Time) error {
	b.readDeadline.set(t)
	return nil
}

// SetWriteDeadline ends writes at t, waiting ones included.
func (b *BytePipe) SetWriteDeadline(t time.Time) error {
	b.writeDeadline.set(t)
	return nil
}

// LocalAddr returns the address that every pipe has.
func (b *BytePipe) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr returns the address that every pipe has.
func (b *BytePipe) RemoteAddr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "vmbus" }
func (pipeAddr) String() string  { return "vmbus" }
