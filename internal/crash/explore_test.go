package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"loomstore/internal/vfs/memfs"
)

// Environment variables of the long run, make crash.
const (
	statesVariable = "LOOM_CRASH_STATES" // distinct states to reach
	seedVariable   = "LOOM_CRASH_SEED"   // seed to begin with, or to repeat
)

func number(t *testing.T, variable string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// prepared returns a file system with a store, everything durable, and its
// ledger.
func prepared(t testing.TB, p protocol, changes ...change) (*memfs.FS, *ledger) {
	t.Helper()
	m, l := memfs.New(), newLedger()
	if err := takes(p, changes...)(m, l); err != nil {
		t.Fatal(err)
	}
	return m.CrashClone(memfs.Crash{Decide: memfs.KeepAll}), l
}

// report logs what was explored and fails the test for every violation.
func (x *explorer) report(t testing.TB, began time.Time) {
	t.Helper()
	d := time.Since(began)
	t.Logf("%d crash points, %d states tried, %d distinct: torn %d, lost %d, unavailable %d, savefail %d; %.1f s, %.0f states/s",
		x.points.Load(), x.tried.Load(), x.distinct.Load(), x.counts[torn].Load(), x.counts[lost].Load(),
		x.counts[unavailable].Load(), x.counts[saveFails].Load(), d.Seconds(), float64(x.tried.Load())/d.Seconds())
	for _, v := range x.reports {
		t.Errorf("seed %d: %v", x.seed, v)
	}
	if n := x.bad(); n > int64(len(x.reports)) {
		t.Errorf("%d violations in all", n)
	}
}

// The production engine through at least 100,000 distinct crash states, and no
// violation. With LOOM_CRASH_STATES more, from seed LOOM_CRASH_SEED on: each
// seed is a workload of its own, so a long run is resumed at the seed that the
// log names last.
func TestNoCrashStateBreaksTheStore(t *testing.T) {
	if !testing.Short() && os.Getenv(statesVariable) == "" {
		t.Log("100,000 distinct states take about a minute on two busy cores")
	}
	began := time.Now()
	want := number(t, statesVariable, 100_000)
	first := number(t, seedVariable, 1)
	x := &explorer{budgets: []budget{{1024, 400}, {32, 12}}, enoughBad: 5}
	if first == 1 {
		// The fixed workload from the first creation on, and all overlaps.
		x.seed = 1
		for _, p := range []loom{{size: 256, create: true, keep: 1}, {size: 1024, create: true}, {size: 1024, create: true, share: 2}} {
			x.proto, x.again = p, goesOn(p)
			if err := x.explore(fmt.Sprintf("history at %d, shared %d", p.size, p.share), memfs.New(), newLedger(), takes(p, history...), 2); err != nil {
				t.Error(err)
			}
		}
		t.Logf("the fixed workload: %d distinct", x.distinct.Load())
		p := loom{size: 1024, create: true}
		m, l := prepared(t, p, history[:2]...)
		x.budgets = []budget{{64, 64}, {16, 8}}
		for i, next := range schedules(10) {
			if err := x.explore(fmt.Sprintf("overlap %d", i), m.Clone(), l.clone(), overlaps(p, next, history[2:]...), 2); err != nil {
				t.Error(err)
			}
		}
		t.Logf("with overlaps: %d distinct", x.distinct.Load())
	}
	depth := []budget{{1024, 400}, {32, 12}}
	if want > 1_000_000 {
		depth = []budget{{1024, 400}, {32, 12}, {16, 8}}
	}
	logged := began
	for seed := first; x.distinct.Load() < want && !x.failed(); seed++ {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		p := loom{size: []int{256, 1024, 1024, 2048}[rng.IntN(4)], create: true, keep: int64(rng.IntN(2)), share: rng.IntN(3)}
		x.proto, x.again, x.seed, x.budgets = p, goesOn(p), uint64(seed), depth
		m, l := prepared(t, p, randomHistory(rng, rng.IntN(3))...)
		if err := x.explore(fmt.Sprintf("seed %d", seed), m, l, takes(p, randomHistory(rng, 4)...), 2); err != nil {
			t.Error(err)
		}
		if time.Since(logged) > time.Minute {
			t.Logf("seed %d done: %d distinct", seed, x.distinct.Load())
			logged = time.Now()
		}
	}
	x.report(t, began)
}

// The same with the pages of 16 KiB that real stores have: fewer states in
// every run, because each is hashed and compared in full; many in the long one.
func TestNoCrashStateBreaksPagesOfFullSize(t *testing.T) {
	began := time.Now()
	p := loom{size: 16384, create: true}
	x := &explorer{proto: p, again: goesOn(p), budgets: []budget{{16, 16}, {4, 4}}, seed: uint64(number(t, seedVariable, 1)), enoughBad: 5}
	if os.Getenv(statesVariable) != "" {
		x.budgets = []budget{{1024, 400}, {32, 12}}
	}
	if err := x.explore("history", memfs.New(), newLedger(), takes(p, history...), 2); err != nil {
		t.Error(err)
	}
	x.report(t, began)
}
