package loom

import "testing"

// TestCopies: every page in its place, whatever the number, and no allocation
// once there is room.
func TestCopies(t *testing.T) {
	source := make([]byte, 3*PageSize)
	for i := range source {
		source[i] = byte(i / PageSize)
	}
	page := func(i int) []byte { return source[i%3*PageSize : (i%3+1)*PageSize] }
	var c copies
	for _, n := range []int{0, 1, chunkPages, 5*chunkPages + 3, 2} {
		for _, chunk := range c.chunks {
			clear(chunk)
		}
		if err := c.fill(n, page, call); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if got := c.page(i); len(got) != PageSize || got[0] != byte(i%3) || got[PageSize-1] != byte(i%3) {
				t.Fatalf("copy %d of %d holds %d...%d", i, n, got[0], got[PageSize-1])
			}
		}
	}
	few := testing.AllocsPerRun(10, func() { _ = c.fill(1, page, call) })
	many := testing.AllocsPerRun(10, func() { _ = c.fill(5*chunkPages, page, call) })
	if many > few {
		t.Errorf("%v allocations for %d pages, %v for one", many, 5*chunkPages, few)
	}
}

func call(f func() error) error { return f() }

func TestCopiesAreGivenBack(t *testing.T) {
	all := make([][]byte, keptChunks+5)
	for i := range all {
		all[i] = make([]byte, 1)
	}
	c := copies{all}
	c.trim()
	if len(c.chunks) != keptChunks || all[keptChunks-1] == nil || all[keptChunks] != nil || all[keptChunks+4] != nil {
		t.Errorf("%d chunks kept", len(c.chunks))
	}
}
