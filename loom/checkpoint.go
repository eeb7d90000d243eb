package loom

import (
	"context"
	"fmt"
	"time"

	"loomstore/image"
)

// Checkpoint is what a checkpoint saved.
type Checkpoint struct {
	Epoch uint64
	Pages int   // dirty pages saved
	Bytes int64 // of page content
	Low   int64 // low watermark
}

// Checkpoint makes the state of the arena durable. It returns at the commit
// point: whatever happens from then on, Open gives back this state or a later
// one. Writing it to image.bin goes on behind it; the next Checkpoint waits
// for that. The program must be stopped.
//
// An error says that there is no new checkpoint, and no dirty page is lost:
// call again when the cause is gone (ErrNoSpace above all). ErrInDoubt is the
// exception: see there. A context that is done ends the wait and the writing,
// not a commit that has begun.
func (l *Loom) Checkpoint(ctx context.Context) (Checkpoint, error) {
	if err := l.begin(); err != nil {
		return Checkpoint{}, err
	}
	defer l.end()
	c, err := l.take(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("loom: checkpoint: %w", err)
	}
	if l.o.DryRun {
		l.arena.Mark(c.change.Pages)
		return c.Checkpoint, nil
	}
	c.change.Content, c.change.Guard = func(i int) []byte { return l.page(c.change.Pages[i]) }, l.Do
	if err := l.commit(ctx, c); err != nil {
		return Checkpoint{}, fmt.Errorf("loom: checkpoint %d: %w", c.Epoch, err)
	}
	if l.o.Validate {
		if err := l.Do(func() error { return l.validateAfter(ctx) }); err != nil {
			return c.Checkpoint, err
		}
	}
	return c.Checkpoint, nil
}

// captured is a checkpoint whose dirty set is known.
type captured struct {
	Checkpoint
	change image.Change
	high   int // watermark
	began  time.Time
}

// take is step 1 of the protocol: it finds the dirty pages below the low
// watermark and re-arms the tracker. From here on they count as clean, so
// whoever fails before the commit point marks them again.
func (l *Loom) take(ctx context.Context) (_ *captured, err error) {
	began := time.Now()
	if err := l.settleCapture(ctx); err != nil {
		return nil, err
	}
	st := l.store.State()
	low, err := l.lowWatermark(st)
	if err != nil {
		return nil, err
	}
	newPages := pagesFor(low)
	if err := l.shrink(newPages); err != nil {
		return nil, err
	}
	// The slice is the change's until its outcome is known, as it is here of
	// the one before.
	l.dirty, err = l.arena.Collect(l.dirty[:0], newPages)
	if err != nil {
		return nil, l.pageError(err)
	}
	dirty, taken := l.dirty, false
	defer func() {
		if !taken { // an error, or a panic of the program's Free or Events
			l.arena.Mark(l.dirty)
		}
	}()
	if l.o.Free != nil {
		dirty = l.dropFree(dirty)
	}
	if l.o.Validate {
		if err := l.Do(func() error { return l.validateBefore(dirty, min(st.Pages, newPages)) }); err != nil {
			return nil, err
		}
	}
	_, high := l.arena.Watermarks()
	c := &captured{
		high:       high,
		Checkpoint: Checkpoint{Epoch: st.Epoch + 1, Pages: len(dirty), Bytes: int64(len(dirty)) * PageSize, Low: low},
		change:     image.Change{Pages: dirty, Low: low, App: l.app},
		began:      began,
	}
	l.metrics.captured(time.Since(began))
	l.tell(Begun, c, nil)
	taken = true
	return c, nil
}

// lowWatermark is what SetWatermarks said, else the end of the highest page
// that was ever dirty.
func (l *Loom) lowWatermark(st image.State) (int64, error) {
	if l.lowSet.Load() {
		return l.low.Load(), nil
	}
	highest, err := l.arena.Highest()
	if err != nil {
		return 0, err
	}
	return max(st.Low, int64(highest)*PageSize), nil
}

// dropFree takes the pages that the program calls free out of the set. They
// stay dirty.
func (l *Loom) dropFree(dirty []int) []int {
	var free []int
	for _, p := range dirty {
		if l.o.Free(p) {
			free = append(free, p)
		}
	}
	l.arena.Mark(free)
	kept := dirty[:0] // only now: Free may have panicked
	for _, p := range dirty {
		if len(free) > 0 && free[0] == p {
			free = free[1:]
		} else {
			kept = append(kept, p)
		}
	}
	return kept
}

// commit is steps 2 to 4 of the protocol, and starts step 5.
func (l *Loom) commit(ctx context.Context, c *captured) error {
	if err := l.stageAndCommit(ctx, c); err != nil {
		l.failed(c, err)
		return err
	}
	l.metrics.committed(c, nil)
	l.high = c.high
	defer l.startApply(c) // also if Events panics
	l.tell(Committed, c, nil)
	return nil
}

// failed takes back what was captured. R4: before the record is touched nothing
// is lost. In doubt, marking does no harm: no checkpoint will follow.
func (l *Loom) failed(c *captured, err error) {
	l.metrics.committed(c, err)
	l.arena.Mark(c.change.Pages)
	l.tell(Failed, c, err)
}

func (l *Loom) stageAndCommit(ctx context.Context, c *captured) error {
	staged, err := l.store.Stage(ctx, c.change)
	if err != nil {
		return err
	}
	if err := l.settleApply(ctx); err != nil {
		return err
	}
	return l.store.Commit(staged)
}

func (l *Loom) tell(kind EventKind, c *captured, err error) {
	if l.o.Events != nil {
		l.o.Events(Event{Kind: kind, Epoch: c.Epoch, Pages: c.Pages, Bytes: c.Bytes, Duration: time.Since(c.began), Err: err})
	}
}
