package loom_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"loomstore/fault"
	"loomstore/image"
	"loomstore/internal/checksum"
	"loomstore/loom"
	"loomstore/patch"
)

// benchPages is the image of the benchmarks: 256 MiB.
const benchPages = 16384

// BenchmarkCheckpoint prints what a checkpoint of D random pages of 16384
// costs up to the commit point, and until it is applied, as ratios to the
// floor: the same pages written once to a new file, and one fdatasync. Medians
// of shuffled rounds in one run.
//
//	go test -run '^$' -bench Checkpoint -benchtime 1x ./loom
func BenchmarkCheckpoint(b *testing.B) {
	for _, kind := range []fault.Kind{fault.Uffd, fault.Mprotect} {
		b.Run(string(kind), func(b *testing.B) { benchCheckpoint(b, kind) })
	}
}

func benchCheckpoint(b *testing.B, kind fault.Kind) {
	dir := b.TempDir()
	l, err := loom.Open(filepath.Join(dir, "store"), &loom.Options{Size: benchPages * page, Tracker: kind})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := rand.New(rand.NewPCG(1, 2))
	mem := l.Bytes()
	for off := 0; off < len(mem); off += 8 {
		binary.LittleEndian.PutUint64(mem[off:], r.Uint64())
	}
	if _, err := l.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	warm := bytes.Clone(mem)
	sizes := []int{1, 16, 256, 4096, 16384}
	times := map[string][]time.Duration{}
	note := func(what string, d int, took time.Duration) {
		key := fmt.Sprintf("%s-%d", what, d)
		times[key] = append(times[key], took)
	}
	const rounds = 9
	for range rounds {
		for _, i := range r.Perm(len(sizes)) {
			d := sizes[i]
			dirty := r.Perm(benchPages)[:d]
			slices.Sort(dirty)
			cells := []func(){
				func() { note("floor", d, writeFloor(b, filepath.Join(dir, "floor"), mem, dirty)) },
				func() {
					store(mem, dirty, r.Uint64())
					start := time.Now()
					if _, err := l.Checkpoint(ctx); err != nil {
						b.Fatal(err)
					}
					note("commit", d, time.Since(start))
					if err := l.Wait(ctx); err != nil {
						b.Fatal(err)
					}
					note("applied", d, time.Since(start))
				},
				func() {
					store(mem, dirty, r.Uint64())
					start := time.Now()
					p, err := l.CheckpointAsync(ctx)
					note("stopped", d, time.Since(start))
					if err != nil {
						b.Fatal(err)
					}
					if err := p.Wait(ctx); err != nil {
						b.Fatal(err)
					}
					if err := l.Wait(ctx); err != nil {
						b.Fatal(err)
					}
				},
				func() { note("memcpy", d, copyFloor(warm, mem, dirty)) },
			}
			for _, c := range r.Perm(len(cells)) {
				syncDisk(b, dir)
				cells[c]()
			}
		}
	}
	median := func(what string, d int) time.Duration {
		t := times[fmt.Sprintf("%s-%d", what, d)]
		slices.Sort(t)
		return t[len(t)/2]
	}
	for _, d := range sizes {
		floor, cp := median("floor", d), median("memcpy", d)
		fmt.Printf("%-8s %6d pages: floor %8.2f ms  commit %5.2f x  applied %5.2f x  stopped %6.2f ms = %5.2f x memcpy\n", kind, d,
			ms(floor), ratio(median("commit", d), floor), ratio(median("applied", d), floor), ms(median("stopped", d)), ratio(median("stopped", d), cp))
	}
}

func ms(d time.Duration) float64       { return float64(d) / 1e6 }
func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
func store(mem []byte, pages []int, v uint64) { // one word a page
	for _, p := range pages {
		binary.LittleEndian.PutUint64(mem[p*page+64:], v)
	}
}

func writeFloor(b *testing.B, name string, mem []byte, pages []int) time.Duration {
	b.Helper()
	_ = os.Remove(name) // of the last round; freeing its blocks is not the floor's cost
	syncDisk(b, filepath.Dir(name))
	start := time.Now()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1<<20)
	var off int64
	flush := func() {
		if _, err := f.WriteAt(buf, off); err != nil {
			b.Fatal(err)
		}
		off += int64(len(buf))
		buf = buf[:0]
	}
	for _, p := range pages {
		buf = append(buf, mem[p*page:(p+1)*page]...)
		if len(buf) == cap(buf) {
			flush()
		}
	}
	flush()
	if err := syscall.Fdatasync(int(f.Fd())); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

// copyFloor is one core's copy of the pages into memory that is in use.
func copyFloor(dst, mem []byte, pages []int) time.Duration {
	start := time.Now()
	for i, p := range pages {
		copy(dst[i*page:], mem[p*page:(p+1)*page])
	}
	return time.Since(start)
}

// BenchmarkStore prints what Open, verify and backup of a store of 256 MiB
// cost: verify as a share of murmur3's speed on all cores, backup as a share
// of a copy's with fsync. Warm cache, medians of shuffled rounds.
func BenchmarkStore(b *testing.B) {
	dir := b.TempDir()
	src := filepath.Join(dir, "store")
	l, err := loom.Open(src, &loom.Options{Size: benchPages * page})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	mem := l.Bytes()
	for off := 0; off < len(mem); off += 8 {
		binary.LittleEndian.PutUint64(mem[off:], r.Uint64())
	}
	if _, err := l.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	heap := append([]byte(nil), mem...)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	times := map[string][]time.Duration{}
	timed := func(what string, f func() error) func() {
		return func() {
			start := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			times[what] = append(times[what], time.Since(start))
		}
	}
	n := 0
	cells := []func(){
		timed("open", func() error {
			l, err := loom.Open(src, &loom.Options{Size: benchPages * page})
			if err != nil {
				return err
			}
			return l.Close()
		}),
		timed("murmur", func() error { hashAll(heap); return nil }),
		timed("verify", func() error {
			report, err := image.Verify(context.Background(), src, nil, func(d *patch.Defect) { b.Error(d) }, nil)
			if report.Pages != benchPages {
				b.Errorf("%d pages verified", report.Pages)
			}
			return err
		}),
		timed("backup", func() error {
			n++
			_, err := image.Backup(context.Background(), src, fmt.Sprintf("%s.%d", src, n), nil, nil)
			return err
		}),
		timed("cp", func() error { n++; return copyFile(filepath.Join(src, "image.bin"), fmt.Sprintf("%s/cp.%d", dir, n)) }),
	}
	for range 7 {
		for _, c := range r.Perm(len(cells)) {
			syncDisk(b, dir)
			cells[c]()
		}
	}
	median := func(what string) time.Duration {
		slices.Sort(times[what])
		return times[what][len(times[what])/2]
	}
	fmt.Printf("open and close %.2f ms  verify %.2f of murmur3's speed  backup %.2f of cp + fsync's speed\n",
		ms(median("open")), ratio(median("murmur"), median("verify")), ratio(median("cp"), median("backup")))
}

func hashAll(mem []byte) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for off := w * page; off < len(mem); off += workers * page {
				checksum.Sum64(mem[off : off+page])
			}
		})
	}
	wg.Wait()
}

func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// syncDisk empties the system's cache of what it has yet to write to the file
// system of dir. Others may be stuck, which is nothing to wait for.
func syncDisk(b *testing.B, dir string) {
	b.Helper()
	d, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		b.Fatal(err)
	}
}
