package shmread

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"loomstore/internal/mapping"
)

var sink uint64

// loadEight is floor A as a call, as Snapshot is one.
//
//go:noinline
func loadEight(l *layout, to *[8]uint64) {
	w := &l.body
	to[0], to[1], to[2], to[3] = w[0].Load(), w[1].Load(), w[2].Load(), w[3].Load()
	to[4], to[5], to[6], to[7] = w[4].Load(), w[5].Load(), w[6].Load(), w[7].Load()
}

// contestant runs its operation n times.
type contestant struct {
	name  string
	floor string
	run   func(n int)
}

// BenchmarkRatios prints what reads cost beside two floors in the same run:
// eight atomic loads into a local array, and time.Now. Each figure is the
// median of rounds in shuffled order. Run it with -bench Ratios -benchtime 1x.
func BenchmarkRatios(b *testing.B) {
	path := filepath.Join(b.TempDir(), "shm")
	w := mustCreate(b, path)
	coarse, err := CoarseNow()
	if err != nil {
		b.Fatal(err)
	}
	rec := ClockErrorBound{AsOf: coarse, VoidAfter: Timespec{coarse.Sec + 1000, 0}, BoundNsec: 1000, MaxDriftPPB: 50000, Status: Synchronized}
	mustUpdate(b, w, rec)
	reader := mustOpen(b, path, nil)
	shared := reader.cur.Load().shared

	// The writer's side of "changed" is one plain store, since an atomic one
	// costs as much as the read, through the mapping that is read: the CPU
	// takes a detour to find a store that was made through another one.
	type header struct{ vergen uint32 }
	vergen := &mapping.Overlay[header](w.view, 12).vergen
	written := &Reader{}
	written.cur.Store(newSegment(w.view, reader.cur.Load().header))

	contestants := []contestant{
		{"A: eight atomic loads", "A: eight atomic loads", func(n int) {
			var to [8]uint64
			w := &shared.body
			for range n {
				to[0], to[1], to[2], to[3] = w[0].Load(), w[1].Load(), w[2].Load(), w[3].Load()
				to[4], to[5], to[6], to[7] = w[4].Load(), w[5].Load(), w[6].Load(), w[7].Load()
			}
			sink += to[0] + to[7]
		}},
		{"A in a call", "A: eight atomic loads", func(n int) {
			var to [8]uint64
			for range n {
				loadEight(shared, &to)
			}
			sink += to[0] + to[7]
		}},
		{"Snapshot", "A: eight atomic loads", func(n int) {
			var c ClockErrorBound
			for range n {
				if reader.Snapshot(&c) != nil {
					panic("snapshot failed")
				}
			}
		}},
		{"Snapshot, changed", "A: eight atomic loads", func(n int) {
			var c ClockErrorBound
			g := uint16(0)
			for range n {
				g += 2
				*vergen = joinVergen(2, g|2)
				if written.Snapshot(&c) != nil {
					panic("snapshot failed")
				}
			}
		}},
		{"B: time.Now", "B: time.Now", func(n int) {
			for range n {
				sink += uint64(time.Now().Nanosecond())
			}
		}},
		{"Now", "B: time.Now", func(n int) {
			for range n {
				bound, err := reader.Now()
				if err != nil {
					panic(err)
				}
				sink += uint64(bound.Status)
			}
		}},
	}

	const rounds, batch = 501, 2_000 // short, so that most batches are not preempted
	for range b.N {
		costs := map[string][]float64{}
		for range rounds {
			for _, i := range rand.Perm(len(contestants)) {
				c := contestants[i]
				start := time.Now()
				c.run(batch)
				costs[c.name] = append(costs[c.name], float64(time.Since(start).Nanoseconds())/batch)
			}
		}
		median := func(name string) float64 {
			slices.Sort(costs[name])
			return costs[name][rounds/2]
		}
		table := fmt.Sprintf("%-32s %8s %8s\n", "", "ns", "x floor")
		for _, c := range contestants {
			table += fmt.Sprintf("%-32s %8.2f %8.2f\n", c.name, median(c.name), median(c.name)/median(c.floor))
		}
		fmt.Print("\n", table)
	}
}

func BenchmarkUpdate(b *testing.B) {
	w := mustCreate(b, filepath.Join(b.TempDir(), "shm"))
	c := record(1)
	b.ReportAllocs()
	for b.Loop() {
		mustUpdate(b, w, c)
	}
}
