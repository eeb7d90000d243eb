package signal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Event is a file that a signal is read from and written to: an *os.File that
// the runtime's poller knows, or a stand-in for one.
type Event interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
}

var longAgo = time.Unix(1, 0)

// await reads len(buf) bytes from event, or returns when ctx is done. The
// deadline is the only way to get a reader out of the poller again.
func await(ctx context.Context, event Event, buf []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		// Without support for deadlines, Close is what ends the read.
		_ = event.SetReadDeadline(longAgo)
		close(interrupted)
	})
	n, err := event.Read(buf)
	if !stop() {
		<-interrupted
		_ = event.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("wait for a signal: %w", err)
	}
	if n != len(buf) {
		return fmt.Errorf("wait for a signal: %d bytes, expected %d: %w", n, len(buf), io.ErrUnexpectedEOF)
	}
	return nil
}
