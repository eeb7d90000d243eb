package signal

import "context"

// Local is one end of a signal between goroutines of one process.
type Local struct {
	mine, peer chan struct{}
}

// NewLocal returns the two ends.
func NewLocal() (*Local, *Local) {
	a, b := make(chan struct{}, 1), make(chan struct{}, 1)
	return &Local{mine: a, peer: b}, &Local{mine: b, peer: a}
}

// Notify wakes the other end.
func (l *Local) Notify() error {
	select {
	case l.peer <- struct{}{}:
	default: // not taken yet: one is enough
	}
	return nil
}

// Wait returns when the other end called Notify since the last Wait.
func (l *Local) Wait(ctx context.Context) error {
	select {
	case <-l.mine:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close does nothing: the other end may still call Notify.
func (l *Local) Close() error { return nil }
