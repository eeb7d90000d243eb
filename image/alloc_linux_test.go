//go:build !race

package image_test

import (
	"context"
	"testing"

	"loomstore/image"
)

// What a checkpoint allocates in the steady state does not depend on how many
// pages it has: a few slices of one element a page, none of them a page's own.
// Of pages that are not copied, the system's vectors of every sixteen are built
// anew. The race detector makes sync.Pool forget at random, so this is not run
// there.
func TestNoAllocationPerPage(t *testing.T) {
	for _, c := range []struct {
		still bool
		most  float64 // a page
	}{{false, 0.05}, {true, 0.4}} {
		few, many := allocations(t, 32, c.still), allocations(t, 512, c.still)
		if perPage := (many - few) / (512 - 32); perPage > c.most {
			t.Errorf("still %v: a checkpoint of 32 pages allocates %v times, one of 512 %v times: %.2f a page", c.still, few, many, perPage)
		}
	}
}

// allocations of a checkpoint of n pages, of which no two are neighbours.
func allocations(t *testing.T, n int, still bool) float64 {
	t.Helper()
	const size = 16384
	ctx := context.Background()
	s, _, err := image.Open(ctx, t.TempDir(), &image.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	c := image.Change{Low: int64(2 * n * size), Still: still, Content: func(int) []byte { return content }}
	for i := range n {
		c.Pages = append(c.Pages, 2*i)
	}
	count := testing.AllocsPerRun(2, func() {
		content[0]++
		if err := checkpoint(s, c); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return count
}
