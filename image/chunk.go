package image

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// chunkPages is how many pages are copied, hashed and written together: few
// enough that what was read is in the core's cache when it is hashed and
// written, and that the disk begins early.
const chunkPages = 16

// scratch is what one goroutine needs to work on chunkPages pages.
type scratch struct {
	b   []byte
	vec [chunkPages][]byte
}

// bytes returns a buffer of n bytes.
func (c *scratch) bytes(n int) []byte {
	if cap(c.b) < n {
		c.b = make([]byte, n)
	}
	return c.b[:n]
}

// scratches are kept, so that a checkpoint allocates nothing per page.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

// inChunks calls work for every run of chunkPages of n items, in ascending
// order, from up to workers goroutines (0: one a core), each with a scratch
// of its own. The first error ends it.
func inChunks(ctx context.Context, workers, n int, work func(from, to int, c *scratch) error) error {
	return inChunksUnder(ctx, nil, workers, n, work)
}

// inChunksUnder is inChunks, of which each goroutine works under guard, which
// calls what it is given and may make an error of a panic.
func inChunksUnder(ctx context.Context, guard func(func() error) error, workers, n int, work func(from, to int, c *scratch) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	chunks := func() error {
		c := scratches.Get().(*scratch)
		defer scratches.Put(c)
		for ctx.Err() == nil {
			from := int(next.Add(chunkPages)) - chunkPages
			if from >= n {
				return nil
			}
			if err := work(from, min(from+chunkPages, n), c); err != nil {
				return err
			}
		}
		return nil
	}
	if guard == nil {
		guard = func(f func() error) error { return f() }
	}
	loop := func() {
		if err := guard(chunks); err != nil {
			cancel(err)
		}
	}
	var wg sync.WaitGroup
	for range min(workers, (n+chunkPages-1)/chunkPages) - 1 {
		wg.Go(loop)
	}
	loop()
	wg.Wait()
	return context.Cause(ctx)
}
