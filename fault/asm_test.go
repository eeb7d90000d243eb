//go:build linux && (amd64 || arm64)

package fault

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
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

// TestHandlerLocks: what several threads change at once is changed in one step.
// Two threads do not come near enough to each other, often enough, for a test to
// see it; a bit lost is a page lost.
func TestHandlerLocks(t *testing.T) {
	source, err := os.ReadFile("handler_linux_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	count, before := 0, ""
	for line := range strings.Lines(string(source)) {
		line = strings.TrimSpace(line)
		switch op, _, _ := strings.Cut(line, " "); op {
		case "BTSQ", "CMPXCHGQ", "INCQ":
			count++
			if before != "LOCK" {
				t.Errorf("without LOCK: %s", line)
			}
		}
		before = line
	}
	if count != 6 {
		t.Errorf("%d instructions looked at", count)
	}
}
