package loom_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/internal/aiodtest"
	"loomstore/loom"
)

// BenchmarkIO prints what a checkpoint of D random pages of 4096 costs through
// a daemon, up to the commit point and until it is applied, as a ratio to the
// same done directly: medians of the ratios of shuffled rounds in one run.
//
//	go test -run '^$' -bench IO -benchtime 1x ./loom
func BenchmarkIO(b *testing.B) {
	const pages, rounds = 4096, 31
	dir := b.TempDir()
	open := func(name string, o *loom.Options) *loom.Loom {
		o.Size = pages * page
		l, err := loom.Open(filepath.Join(dir, name), o)
		if err != nil {
			b.Fatal(err)
		}
		mem := l.Bytes()
		for off := 0; off < len(mem); off += page {
			binary.LittleEndian.PutUint64(mem[off:], uint64(off)+1)
		}
		if _, err := l.Checkpoint(ctx); err != nil {
			b.Fatal(err)
		}
		return l
	}
	looms := [2]*loom.Loom{
		open("direct", &loom.Options{}),
		open("aiod", &loom.Options{IO: aiodfs.New(aiodtest.Start(b, aiod.Options{}))}),
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, d := range []int{1, 16, 256, 2048} {
		var committed, applied []float64
		var direct, daemon []time.Duration
		for range rounds {
			dirty := r.Perm(pages)[:d]
			slices.Sort(dirty)
			var commit, apply [2]time.Duration
			for _, i := range r.Perm(2) {
				l := looms[i]
				if err := l.Wait(ctx); err != nil {
					b.Fatal(err)
				}
				store(l.Bytes(), dirty, r.Uint64())
				began := time.Now()
				if _, err := l.Checkpoint(ctx); err != nil {
					b.Fatal(err)
				}
				commit[i] = time.Since(began)
				if err := l.Wait(ctx); err != nil {
					b.Fatal(err)
				}
				apply[i] = time.Since(began)
			}
			direct, daemon = append(direct, commit[0]), append(daemon, commit[1])
			committed = append(committed, ratio(commit[1], commit[0]))
			applied = append(applied, ratio(apply[1], apply[0]))
		}
		slices.Sort(direct)
		slices.Sort(daemon)
		slices.Sort(committed)
		slices.Sort(applied)
		fmt.Printf("%5d pages: commit %6.2f ms direct, %6.2f ms through a daemon: %.2f x; applied %.2f x\n", d,
			ms(direct[rounds/2]), ms(daemon[rounds/2]), committed[rounds/2], applied[rounds/2])
	}
	for _, l := range looms {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
