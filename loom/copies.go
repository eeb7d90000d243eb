package loom

import (
	"cmp"
	"runtime"
	"sync"
	"sync/atomic"
)

// copies is the memory that asynchronous checkpoints copy their pages to while
// the program stands still. It is kept from one to the next: the first touch
// of fresh memory costs more than the copy itself.
type copies struct{ chunks [][]byte }

const (
	chunkPages = 64
	// keptChunks bounds what is kept: 256 MiB.
	keptChunks = 256
)

// fill makes copies of n pages, on all cores. They are valid until the next
// fill. What goes wrong where a page is read is guard's to say.
func (c *copies) fill(n int, page func(i int) []byte, guard func(read func() error) error) error {
	for len(c.chunks)*chunkPages < n {
		c.chunks = append(c.chunks, make([]byte, chunkPages*PageSize))
	}
	var next atomic.Int64
	fill := func() error {
		for lo := int(next.Add(chunkPages)) - chunkPages; lo < n; lo = int(next.Add(chunkPages)) - chunkPages {
			for i := lo; i < min(lo+chunkPages, n); i++ {
				copy(c.page(i), page(i))
			}
		}
		return nil
	}
	errs := make([]error, max(1, min(runtime.GOMAXPROCS(0), (n+chunkPages-1)/chunkPages)))
	var wg sync.WaitGroup
	for i := range errs[1:] {
		wg.Go(func() { errs[i+1] = guard(fill) })
	}
	errs[0] = guard(fill)
	wg.Wait()
	return cmp.Or(errs...)
}

// page returns the copy with number i.
func (c *copies) page(i int) []byte {
	off := i % chunkPages * PageSize
	return c.chunks[i/chunkPages][off : off+PageSize : off+PageSize]
}

// trim lets memory go that only an unusually large checkpoint needed. The
// copies are gone with it.
func (c *copies) trim() {
	if len(c.chunks) > keptChunks {
		clear(c.chunks[keptChunks:])
		c.chunks = c.chunks[:keptChunks]
	}
}
