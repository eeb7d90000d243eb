package loom

import (
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
// fill.
func (c *copies) fill(n int, page func(i int) []byte) {
	for len(c.chunks)*chunkPages < n {
		c.chunks = append(c.chunks, make([]byte, chunkPages*PageSize))
	}
	var next atomic.Int64
	fill := func() {
		for lo := int(next.Add(chunkPages)) - chunkPages; lo < n; lo = int(next.Add(chunkPages)) - chunkPages {
			for i := lo; i < min(lo+chunkPages, n); i++ {
				copy(c.page(i), page(i))
			}
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+chunkPages-1)/chunkPages) - 1 {
		wg.Go(fill)
	}
	fill()
	wg.Wait()
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
