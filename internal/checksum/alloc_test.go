//go:build !race

package checksum

import "testing"

// The race detector makes sync.Pool forget at random, so this is not run there.
func TestNoAllocation(t *testing.T) {
	page := make([]byte, 16384)
	if n := testing.AllocsPerRun(100, func() { Sum64(page); Sum32(page); Pair(1, 2) }); n > 0 {
		t.Errorf("%v allocations a page, want 0", n)
	}
}
