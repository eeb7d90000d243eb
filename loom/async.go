package loom

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Pending is a checkpoint that was captured and is being made durable.
type Pending struct {
	c    *captured
	done chan struct{}
	err  error       // read after done
	seen atomic.Bool // Wait returned err
}

// Epoch returns the number the checkpoint will have.
func (p *Pending) Epoch() uint64 { return p.c.Epoch }

// Checkpoint returns what is being saved.
func (p *Pending) Checkpoint() Checkpoint { return p.c.Checkpoint }

// Wait returns when the checkpoint is durable, or with the error that
// prevented it, as Loom.Checkpoint does. Many goroutines may wait.
func (p *Pending) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done: // what is known needs no waiting
		default:
			return fmt.Errorf("loom: wait for checkpoint %d: %w", p.c.Epoch, ctx.Err())
		}
	}
	p.seen.Store(true)
	return p.err
}

// CheckpointAsync captures the state of the arena and returns: the program may
// store again at once, and the checkpoint becomes durable behind it. It needs
// memory for a copy of the dirty pages, of which up to 256 MiB are kept for the
// next one. At most one checkpoint is on its way: the next call waits for it,
// and returns its error if nobody has seen it yet. Then, as with every failed
// checkpoint, its pages are dirty again.
func (l *Loom) CheckpointAsync(ctx context.Context) (*Pending, error) {
	if err := l.begin(); err != nil {
		return nil, err
	}
	defer l.end()
	c, err := l.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("loom: checkpoint: %w", err)
	}
	p := &Pending{c: c, done: make(chan struct{})}
	if l.o.DryRun {
		l.arena.Mark(c.change.Pages)
		close(p.done)
		return p, nil
	}
	pages := c.change.Pages
	if err := l.copies.fill(len(pages), func(i int) []byte { return l.page(pages[i]) }, l.Do); err != nil {
		l.failed(c, err)
		return nil, fmt.Errorf("loom: checkpoint %d: %w", c.Epoch, err)
	}
	c.change.Content, c.change.Still = l.copies.page, true
	l.capture = p
	go func() {
		defer close(p.done)
		defer l.copies.trim()
		// Not the caller's context: the program has been let go on, so the
		// checkpoint must end in a known state.
		if err := l.commit(context.Background(), c); err != nil {
			p.err = fmt.Errorf("loom: checkpoint %d: %w", c.Epoch, err)
		}
	}()
	return p, nil
}

// awaitCapture waits until it is known which checkpoint is the last. An error
// of that on its way remains to be seen.
func (l *Loom) awaitCapture() {
	if l.capture != nil {
		<-l.capture.done
	}
}

// settleCapture waits for the asynchronous checkpoint under way, so that its
// outcome is known. Its error is returned if nobody has seen it.
func (l *Loom) settleCapture(ctx context.Context) error {
	p := l.capture
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for checkpoint %d: %w", p.c.Epoch, ctx.Err())
	}
	l.capture = nil
	if p.seen.Load() {
		return nil
	}
	return p.err
}
