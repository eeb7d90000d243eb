package loom_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"loomstore/fault"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/loom"
)

// BenchmarkScale prints what Open and a checkpoint of 1000 pages cost, in
// images from 256 MiB to 100 GiB whose other pages were never stored to. The
// pages are spread over all of the image. Medians of shuffled rounds in one
// run, each synced before.
//
//	go test -run '^$' -bench Scale -benchtime 1x ./loom
func BenchmarkScale(b *testing.B) {
	for _, kind := range []fault.Kind{fault.Uffd, fault.Cow, fault.Mprotect} {
		b.Run(string(kind), func(b *testing.B) { benchScale(b, kind) })
	}
}

func benchScale(b *testing.B, kind fault.Kind) {
	const rounds, dirty = 9, 1000
	sizes := []int64{256 << 20, 16 << 30, 100 << 30}
	type costs struct{ open, capture, commit []time.Duration }
	results := make([]costs, len(sizes))
	looms := make([]*loom.Loom, len(sizes))
	dir := b.TempDir()
	open := func(i int) {
		l, err := loom.Open(filepath.Join(dir, fmt.Sprint(i)), sparsely(&loom.Options{Size: 1 << 40, Tracker: kind}))
		if err != nil {
			b.Fatal(err)
		}
		looms[i] = l
	}
	checkpoint := func(i int, v uint64) {
		l, n := looms[i], int(sizes[i]/page)
		for j := range dirty {
			p := j * (n - 1) / (dirty - 1)
			store(l.Bytes(), []int{p}, v)
		}
		syncDisk(b, dir)
		start := time.Now()
		if c, err := l.Checkpoint(ctx); err != nil || c.Pages != dirty {
			b.Fatalf("%+v, %v", c, err)
		}
		results[i].commit = append(results[i].commit, time.Since(start))
		results[i].capture = append(results[i].capture, l.Metrics().LastCapture)
		if err := l.Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
	for i := range sizes {
		open(i)
		checkpoint(i, 1)
	}
	clear(results)
	for round := range rounds {
		for _, i := range rand.Perm(len(sizes)) {
			checkpoint(i, uint64(round+2))
		}
	}
	for range rounds {
		for _, i := range rand.Perm(len(sizes)) {
			if err := looms[i].Close(); err != nil {
				b.Fatal(err)
			}
			start := time.Now()
			open(i)
			results[i].open = append(results[i].open, time.Since(start))
		}
	}
	for i, size := range sizes {
		if err := looms[i].Close(); err != nil {
			b.Fatal(err)
		}
		r := results[i]
		for _, t := range [][]time.Duration{r.open, r.capture, r.commit} {
			slices.Sort(t)
		}
		fmt.Printf("%-8s %6d MiB: open %.2f ms  checkpoint of %d pages %5.2f ms, the search in it %.2f ms\n", kind, size>>20,
			ms(r.open[rounds/2]), dirty, ms(r.commit[rounds/2]), ms(r.capture[rounds/2]))
	}
}

// sparsely lets an image grow without its blocks being allocated, as on a file
// system that can not promise space: its length may be more than the disk's.
func sparsely(o *loom.Options) *loom.Options {
	o.FS = errorfs.New(vfs.OS, sparse{})
	return o
}

type sparse struct{}

func (sparse) Inject(op errorfs.Op) *errorfs.Fault {
	if op.Kind == vfs.Allocate && filepath.Base(op.Name) == "image.bin" {
		return &errorfs.Fault{Err: syscall.EOPNOTSUPP}
	}
	return nil
}
