//go:build linux && (amd64 || arm64)

package fault

import (
	"math"
	"math/rand/v2"
	"testing"

	"loomstore/guard"
)

// TestHandlerAgreesWithGuard holds the handler's arithmetic against the Go
// function for a million inputs: plausible ones, small ones where everything
// is an edge, and any numbers at all.
func TestHandlerAgreesWithGuard(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := []func() int{
		func() int { return rng.IntN(1 << 40) },
		func() int { return rng.IntN(8 * PageSize) },
		func() int { return rng.IntN(64) * PageSize },
		func() int { return int(rng.Uint64()) },
		func() int { return math.MaxInt - rng.IntN(4*PageSize) },
		func() int { return math.MinInt + rng.IntN(4*PageSize) },
	}
	placed, crossed := 0, 0
	for range 1_000_000 {
		d := draw[rng.IntN(len(draw))]
		low, high := d(), d()
		if rng.IntN(10) == 0 {
			high = draw[rng.IntN(len(draw))]()
		}
		current := rng.IntN(1 << 26)
		if rng.IntN(2) == 0 { // the present middle, or beside it
			middle, _ := guard.Middle(low, high)
			current = middle + rng.IntN(3) - 1
		}
		want, ok := guard.Next(low, high, current)
		if got := nextGuard(low, high, current); got != want {
			t.Fatalf("nextGuard(%d, %d, %d) = %d, guard.Next says %d", low, high, current, got, want)
		}
		if ok {
			placed++
		}
		if low > high {
			crossed++
		}
	}
	if placed < 100_000 || crossed < 100_000 {
		t.Fatalf("only %d placed and %d crossed: the inputs test little", placed, crossed)
	}
}
