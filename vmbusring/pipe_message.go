package vmbusring

import (
	"context"
	"fmt"
)

// MessageTooLargeError reports that a message is longer than the buffer it
// should be read into. The message stays: read again with more room.
type MessageTooLargeError struct {
	Len int // of the message
	Buf int // of the buffer
}

func (e *MessageTooLargeError) Error() string {
	return fmt.Sprintf("vmbusring: message of %d bytes does not fit into %d", e.Len, e.Buf)
}

// MessagePipe keeps the boundaries of messages: one packet each (spec section
// 3). In raw mode there is no pipe header: a message is the payload of a
// packet, so it arrives padded to a multiple of 8, and may be as long as the
// ring takes. Both directions may be used at the same time.
type MessagePipe struct {
	channel *Channel
	decoder *PipeDecoder // under the channel's receiving turn
}

// NewMessagePipe returns the message pipe on c, which it owns.
func NewMessagePipe(c *Channel) *MessagePipe {
	return &MessagePipe{channel: c, decoder: NewPipeDecoder(PipeMessage)}
}

// NewRawPipe returns the raw pipe on c, which it owns.
func NewRawPipe(c *Channel) *MessagePipe {
	return &MessagePipe{channel: c, decoder: NewPipeDecoder(PipeRaw)}
}

// ReadMessage waits for a message and copies it into buf. It returns the
// message's length, which may be 0. A message that is too long for buf is a
// *MessageTooLargeError, one that breaks the protocol a *CorruptError.
func (m *MessagePipe) ReadMessage(ctx context.Context, buf []byte) (n int, err error) {
	err = m.channel.consume(ctx, nil, func(r *Reader) error {
		n, err = m.decoder.Read(r, buf)
		return err
	})
	return n, err
}

// WriteMessage sends b as one message, waiting until it fits. A message that
// never will, or is longer than MaxPipeMessage, is an error wrapping ErrLength.
func (m *MessagePipe) WriteMessage(ctx context.Context, b []byte) error {
	raw := m.decoder.mode == PipeRaw
	if !raw && len(b) > MaxPipeMessage {
		return fmt.Errorf("message of %d bytes, expected at most %d: %w", len(b), MaxPipeMessage, ErrLength)
	}
	p := Packet{Type: InBand}
	header := pipeHeader(len(b))
	if !raw {
		p.Payload = header[:]
	}
	return m.channel.produce(ctx, nil, func(w *Writer) (int, error) {
		return p.PacketSize(len(b)), w.Append(&p, b)
	})
}

// Close ends the channel; waiting calls return ErrClosed.
func (m *MessagePipe) Close() error { return m.channel.Close() }
