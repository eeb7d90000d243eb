package loom

import (
	"context"
	"time"
)

// scrubBatch is how many pages are checked before the scrub rests: one MiB.
const scrubBatch = 64

// scrub compares the pages of the store with their hashes, round and round,
// until it is stopped.
type scrub struct {
	stop context.CancelFunc
	done chan struct{}
}

// startScrub begins the rounds of Options.ScrubEvery.
func (l *Loom) startScrub() {
	if l.o.ScrubEvery <= 0 {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	l.scrub = &scrub{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.scrub.done)
		l.scrubRounds(ctx)
	}()
}

// stopScrub ends them. It is called before the store closes.
func (l *Loom) stopScrub() {
	if l.scrub != nil {
		l.scrub.stop()
		<-l.scrub.done
	}
}

func (l *Loom) scrubRounds(ctx context.Context) {
	page := make([]byte, PageSize)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pages := l.store.Pages()
		end := min(next+scrubBatch, pages)
		for ; next < end && ctx.Err() == nil; next++ {
			l.scrubPage(next, page)
		}
		if next >= pages {
			next = 0
			l.metrics.scrubbedRound()
		}
		timer.Reset(scrubPause(l.o.ScrubEvery, pages))
	}
}

// scrubPause spreads a round evenly over its time, whatever its pages.
func scrubPause(round time.Duration, pages int) time.Duration {
	batches := max(1, (pages+scrubBatch-1)/scrubBatch)
	return round / time.Duration(batches)
}

func (l *Loom) scrubPage(p int, page []byte) {
	err := l.store.CheckPage(p, page)
	l.metrics.scrubbed(err)
	if err == nil {
		return
	}
	if l.o.Logger != nil {
		l.o.Logger.Error("damaged page", "dir", l.store.Dir(), "page", p, "error", err)
	}
	if l.o.Events != nil {
		l.o.Events(Event{Kind: Damaged, Epoch: l.store.State().Epoch, Pages: 1, Bytes: PageSize, Err: err})
	}
}
