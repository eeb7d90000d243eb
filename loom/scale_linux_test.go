package loom_test

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"loomstore/fault"
	"loomstore/loom"
)

// TestScatteredPages spreads dirty pages over an image of 32 GiB, in an arena
// of 1 TiB. In a soak they are a million in one checkpoint, which takes 4 GiB
// of memory and 32 GiB of disk; 200,000 with mprotect, which is far more than
// the kernel has memory areas for.
func TestScatteredPages(t *testing.T) {
	const imagePages = 32 << 30 / page
	soak := os.Getenv("LOOM_SOAK") != ""
	for _, c := range []struct {
		kind      fault.Kind
		many, few int
	}{{fault.Uffd, 1_000_000, 1000}, {fault.Cow, 1_000_000, 500}, {fault.Mprotect, 200_000, 500}} {
		t.Run(string(c.kind), func(t *testing.T) {
			n := c.few
			if soak {
				n = c.many
			}
			at := func(i int) int { return i * (imagePages - 1) / (n - 1) }
			dir := t.TempDir()
			o := &loom.Options{Size: 1 << 40, Tracker: c.kind}
			began := time.Now()
			lap := func(what string) {
				t.Logf("%d pages: %s %v", n, what, time.Since(began).Round(time.Millisecond/10))
				began = time.Now()
			}
			l := openSparse(t, dir, o)
			for i := range n {
				store(l.Bytes(), []int{at(i)}, uint64(i+1))
			}
			lap("stored in")
			if got := save(t, l); got.Pages != n || got.Low != 32<<30 {
				t.Fatalf("%+v", got)
			}
			lap("durable in")
			if err := l.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			lap("applied in")
			if m := l.Metrics(); soak && c.kind == fault.Mprotect && m.Tracking.Overflows == 0 {
				t.Errorf("the limit of memory areas was not met: %+v", m.Tracking)
			}
			// Tracking goes on: a few of them again, and a page in between.
			for i := range 10 {
				store(l.Bytes(), []int{at(i * (n - 1) / 9)}, uint64(i))
			}
			store(l.Bytes(), []int{at(1) + 1}, 7)
			if got := save(t, l); got.Pages != 11 {
				t.Fatalf("again: %+v", got)
			}
			lap("and 11 of them again in")
			shut(t, l)
			lap("closed in")
			l = openSparse(t, dir, o)
			lap("opened in")
			for i := range n {
				want := uint64(i + 1)
				for j := range 10 {
					if i == j*(n-1)/9 {
						want = uint64(j)
					}
				}
				if got := word(l, at(i)); got != want {
					t.Fatalf("page %d holds %d, want %d", at(i), got, want)
				}
			}
			if got := word(l, at(1)+1); got != 7 {
				t.Fatalf("page %d holds %d", at(1)+1, got)
			}
			lap("read in")
			shut(t, l)
		})
	}
}

// openSparse opens a store whose image may be longer than the disk.
func openSparse(t *testing.T, dir string, o *loom.Options) *loom.Loom {
	t.Helper()
	l, err := loom.Open(dir, sparsely(o))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("not run here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// word loads what store stored.
func word(l *loom.Loom, p int) uint64 { return binary.LittleEndian.Uint64(l.Bytes()[p*page+64:]) }

// TestNoLimitAt4GiB: page numbers and offsets beyond 32 bits survive a
// checkpoint, a rollback, a reopening, a trim and a shrink.
func TestNoLimitAt4GiB(t *testing.T) {
	const gib = 1 << 30 / page
	pages := []int{0, 4*gib - 1, 4 * gib, 4*gib + 1, 9*gib + 5, 17 * gib}
	for _, kind := range []fault.Kind{fault.Uffd, fault.Cow, fault.Mprotect} {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			o := &loom.Options{Size: 64 << 30, Tracker: kind, Guard: true}
			check := func(l *loom.Loom, want uint64) {
				t.Helper()
				for _, p := range pages {
					if got := word(l, p); got != want+uint64(p) {
						t.Fatalf("page %d holds %d, want %d", p, got, want+uint64(p))
					}
					// What a number cut to 32 bits would have hit.
					if q := p % (4 * gib); q != p && q > 1 && word(l, q) != 0 {
						t.Fatalf("page %d holds %d", q, word(l, q))
					}
				}
			}
			fill := func(l *loom.Loom, v uint64) {
				for _, p := range pages {
					store(l.Bytes(), []int{p}, v+uint64(p))
				}
			}
			l := openSparse(t, dir, o)
			if err := l.SetWatermarks(17<<30+64*page, 60<<30); err != nil {
				t.Fatal(err)
			}
			fill(l, 1)
			if got := save(t, l); got.Pages != len(pages) {
				t.Fatalf("%+v", got)
			}
			shut(t, l)
			l = openSparse(t, dir, o)
			if err := l.SetWatermarks(17<<30+64*page, 60<<30); err != nil {
				t.Fatal(err)
			}
			check(l, 1)
			fill(l, 2)
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			check(l, 1)
			fill(l, 3)
			save(t, l)
			if err := l.Trim(); err != nil {
				t.Fatal(err)
			}
			check(l, 3)
			if err := l.SetWatermarks(17<<30+page, 60<<30); err != nil {
				t.Fatal(err)
			}
			store(l.Bytes(), pages[5:], 9)
			if got := save(t, l); got.Pages != 1 {
				t.Fatalf("%+v", got)
			}
			shut(t, l)
			l = openSparse(t, dir, o)
			if got := word(l, pages[5]); got != 9 {
				t.Fatalf("page %d holds %d", pages[5], got)
			}
			if got := l.Metrics().ImagePages; got != 17*gib+1 {
				t.Fatalf("%d pages", got)
			}
			shut(t, l)
		})
	}
}
