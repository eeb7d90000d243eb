//go:build linux

package fault

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"loomstore/internal/mapping"
)

// BenchmarkStores measures what tracking adds to the first store to a page and
// to the next one after a checkpoint, in random order, warm. The floor is the
// kernel's copy on write of the same pages: one 4 KiB part of each is stored
// to, in a private mapping of a file that nobody tracks. All are measured in
// each round, in shuffled order; the results are medians, the ratios to the
// floor's first store.
func BenchmarkStores(b *testing.B) {
	const pages = 8192
	order := rand.New(rand.NewPCG(5, 6)).Perm(pages)
	type result struct{ first, again []float64 }
	results := map[Kind]*result{}
	contenders := []Kind{floor, Uffd, Mprotect, Cow, Compare}
	for _, k := range contenders {
		results[k] = &result{}
	}
	image := newImage(b, pages)
	for b.Loop() {
		rand.Shuffle(len(contenders), func(i, j int) { contenders[i], contenders[j] = contenders[j], contenders[i] })
		for _, k := range contenders {
			first, again := storeTwice(b, image, k, order)
			r := results[k]
			r.first = append(r.first, perStore(first, pages))
			r.again = append(r.again, perStore(again, pages))
		}
	}
	base := median(results[floor].first)
	b.ReportMetric(0, "ns/op")
	for k, r := range results {
		b.ReportMetric(median(r.first), "ns-first-"+string(k))
		b.ReportMetric(median(r.again), "ns-again-"+string(k))
		if k != floor {
			b.ReportMetric(median(r.first)/base, "x-first-"+string(k))
			b.ReportMetric(median(r.again)/base, "x-again-"+string(k))
		}
	}
}

const floor Kind = "floor"

// cleanly says that every page equals the committed state: with it, cow drops
// all pages at a Collect, so that the second store costs another copy.
type cleanly struct{ pages int }

func (c cleanly) Same(int, []byte) bool { return true }
func (c cleanly) Pages() int            { return c.pages }
func (c cleanly) Applied() bool         { return true }

func newImage(b *testing.B, pages int) *os.File {
	f, err := os.Create(filepath.Join(b.TempDir(), "image.bin"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	content := make([]byte, 256*PageSize)
	for i := range content {
		content[i] = byte(i)
	}
	for p := 0; p < pages; p += 256 {
		if _, err := f.WriteAt(content, int64(p)*PageSize); err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// storeTwice stores to all pages, collects, and stores again.
func storeTwice(b *testing.B, image *os.File, kind Kind, order []int) (first, again time.Duration) {
	pages := len(order)
	r, err := mapping.Reserve(pages*PageSize, PageSize)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Release()
	if err := r.MapFile(0, pages*PageSize, mapping.ReadWrite, image.Fd(), 0, false); err != nil {
		b.Fatal(err)
	}
	mem := r.Bytes()
	var sum byte
	for p := range pages { // warm: page tables filled with the file's pages
		sum += mem[p*PageSize]
	}
	store := func() time.Duration {
		start := time.Now()
		for _, p := range order {
			mem[p*PageSize] = sum
		}
		return time.Since(start)
	}
	if kind == floor {
		return store(), store()
	}
	a, err := Open(Config{Kind: kind, Region: r, Mapped: pages, Reference: cleanly{pages}})
	if err != nil {
		b.Skipf("not run: %v", err)
	}
	defer a.Close()
	first = store()
	if _, err := a.Collect(nil, pages); err != nil {
		b.Fatal(err)
	}
	return first, store()
}

func perStore(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / float64(n) }

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
