//go:build linux && (amd64 || arm64)

package fault

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"loomstore/internal/mapping"
)

// BenchmarkCollect prints what it takes to find D written pages among 16384,
// by what uffd asks and by one question for it all, for arenas of which all, a
// fifth and every other page has memory, and for an image of which every page
// was read. Medians of shuffled rounds in one run.
//
//	go test -run '^$' -bench Collect -benchtime 1x ./fault
func BenchmarkCollect(b *testing.B) {
	const pages, rounds = 16384, 15
	// As the kernel's own documentation would have it.
	oneQuestion := query{
		flags: scanRegistered | scanRearm,
		mask:  categoryWritten | categoryFile, absent: categoryFile, either: categoryPresent | categorySwapped, tell: categoryZero,
	}
	image := newImage(b, pages)
	touch := func(p int, mem []byte) {
		for at := 0; at < PageSize; at += 4096 {
			mem[p*PageSize+at]++
		}
	}
	for _, c := range []struct {
		name string
		file bool
		fill func(p int, mem []byte)
	}{
		{"all private", false, touch},
		{"a fifth private", false, func(p int, mem []byte) {
			if rand.IntN(5) == 0 {
				touch(p, mem)
			}
		}},
		{"every other private", false, func(p int, mem []byte) {
			if p%2 == 0 {
				touch(p, mem)
			}
		}},
		{"image, all private", true, touch},
		{"image, all read", true, func(p int, mem []byte) {
			for at := 0; at < PageSize; at += 4096 {
				peek(&mem[p*PageSize+at])
			}
		}},
	} {
		r, err := mapping.Reserve(pages*PageSize, PageSize)
		if err != nil {
			b.Fatal(err)
		}
		defer r.Release()
		mapped := 0
		if c.file {
			mapped = pages
			err = r.MapFile(0, pages*PageSize, mapping.ReadWrite, image.Fd(), 0, false)
		} else {
			err = r.MapAnon(0, pages*PageSize, mapping.ReadWrite)
		}
		if err != nil {
			b.Fatal(err)
		}
		a, err := Open(Config{Kind: Uffd, Region: r, Mapped: mapped, Reference: cleanly{pages}})
		if err != nil {
			b.Skipf("not run: %v", err)
		}
		defer a.Close()
		for p := range pages {
			c.fill(p, r.Bytes())
		}
		if _, err := a.Collect(nil, pages); err != nil {
			b.Fatal(err)
		}
		w := a.tracker.(*uffd).written
		for _, d := range []int{0, 1, 16, 256, 4096} {
			var found int
			count := func(lo, hi int) { found += hi - lo }
			cells := []func() error{
				func() error { return w.take(pages, mapped, func(lo, hi int, _ bool) { count(lo, hi) }) },
				func() error {
					return w.scanner.scan(oneQuestion, 0, pages*parts(), func(lo, hi int, _ uint64) { count(lo, hi) })
				},
			}
			times := make([][]float64, len(cells))
			for range rounds {
				for _, i := range rand.Perm(len(cells)) {
					for _, p := range rand.Perm(pages)[:d] {
						touch(p, r.Bytes())
					}
					found = 0
					start := time.Now()
					err := cells[i]()
					times[i] = append(times[i], float64(time.Since(start).Microseconds()))
					if err != nil || found < d {
						b.Fatalf("%d pages of %d, %v", found, d, err)
					}
				}
			}
			fmt.Printf("%-20s %5d written: %6.0f µs, by one question %6.0f µs\n", c.name, d, median(times[0]), median(times[1]))
		}
	}
}
