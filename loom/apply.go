package loom

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// applying is the apply of one committed checkpoint.
type applying struct {
	c    *captured
	done chan struct{} // closed when the attempt ended
	err  error         // of the attempt; read after done
}

// startApply begins step 5 of the protocol behind the acknowledgement.
func (l *Loom) startApply(c *captured) {
	a := &applying{c: c, done: make(chan struct{})}
	l.apply = a
	go func() {
		defer close(a.done)
		a.err = l.applyOnce(context.Background(), c)
	}()
}

func (l *Loom) applyOnce(ctx context.Context, c *captured) error {
	began := time.Now()
	err := l.store.Apply(ctx)
	l.metrics.applied(time.Since(began), err)
	if l.o.Events != nil {
		e := Event{Kind: Applied, Epoch: c.Epoch, Pages: c.Pages, Bytes: c.Bytes, Duration: time.Since(began), Err: err}
		if err != nil {
			e.Kind = Failed
		}
		l.o.Events(e)
	}
	return err
}

// settleApply waits for the apply under way. One that failed is tried once
// more, which writes everything again (R4).
func (l *Loom) settleApply(ctx context.Context) error {
	a := l.apply
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for the apply of checkpoint %d: %w", a.c.Epoch, ctx.Err())
	}
	if a.err != nil {
		if a.err = l.ownUnapplied(); a.err == nil {
			a.err = l.applyOnce(ctx, a.c)
		}
		if a.err != nil {
			return fmt.Errorf("checkpoint %d is durable but not yet in the image: %w", a.c.Epoch, a.err)
		}
	}
	l.apply = nil
	return nil
}

// ownUnapplied readies the arena for an apply that is done again: that makes
// the image's pages zero for a moment (vfs.File.Renew), and a page that was
// marked dirty without having been stored to is no private copy (R11).
func (l *Loom) ownUnapplied() error {
	if l.limbo != nil {
		return nil
	}
	pages := l.store.Unapplied()
	n, _ := slices.BinarySearch(pages, l.mapped)
	return l.arena.Own(pages[:n])
}

// Wait returns when the last checkpoint is in image.bin, durably. An apply
// that failed is tried again. The checkpoint itself is durable in any case.
func (l *Loom) Wait(ctx context.Context) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	if err := l.settleCapture(ctx); err != nil {
		return err
	}
	return l.settleApply(ctx)
}
