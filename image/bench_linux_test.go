package image_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"loomstore/image"
	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

const (
	benchSize  = 16384 // bytes of a page
	benchPages = 16384 // of the image: 256 MiB
)

// stopwatch keeps what each cell of a benchmark took in each round.
type stopwatch map[string][]time.Duration

func (w stopwatch) note(what string, took time.Duration) { w[what] = append(w[what], took) }

func (w stopwatch) median(what string) time.Duration {
	t := slices.Sorted(slices.Values(w[what]))
	return t[len(t)/2]
}

// BenchmarkSteps prints what the steps of a checkpoint of D random pages of
// 16384 cost, as ratios to the floor: the same pages written once to a new
// file, and one fdatasync. "row" is one of eight checkpoints back to back, each
// staged while the one before is applied. Then where the time goes: calls of
// the file system, in milliseconds. Medians of shuffled rounds in one run.
//
//	go test -run '^$' -bench Steps -benchtime 1x ./image
func BenchmarkSteps(b *testing.B) {
	dir := b.TempDir()
	fsys := &clocked{FS: vfs.OS}
	s, _, err := image.Open(b.Context(), filepath.Join(dir, "store"), &image.Options{FS: fsys, Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(b.Context())
	r := rand.New(rand.NewPCG(1, 2))
	mem := make([]byte, benchPages*benchSize)
	for off := 0; off < len(mem); off += 8 {
		binary.LittleEndian.PutUint64(mem[off:], r.Uint64())
	}
	change := func(pages []int) image.Change {
		for _, p := range pages {
			binary.LittleEndian.PutUint64(mem[p*benchSize+64:], r.Uint64())
		}
		return image.Change{Pages: pages, Low: int64(len(mem)),
			Content: func(i int) []byte { return mem[pages[i]*benchSize : (pages[i]+1)*benchSize] }}
	}
	dirty := func(n int) []int { return slices.Sorted(slices.Values(r.Perm(benchPages)[:n])) }
	stage := func(c image.Change) *image.Staged {
		st, err := s.Stage(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		return st
	}
	commit := func(st *image.Staged) {
		if err := s.Commit(st); err != nil {
			b.Fatal(err)
		}
	}
	apply := func() {
		if err := s.Apply(b.Context()); err != nil {
			b.Error(err)
		}
	}
	commit(stage(change(dirty(benchPages))))
	apply()

	w := stopwatch{}
	spent := map[string]map[call][]time.Duration{}
	allocs := map[int]uint64{}
	where := func(step string, f func()) {
		fsys.take()
		start := time.Now()
		f()
		took := time.Since(start)
		w.note(step, took)
		if spent[step] == nil {
			spent[step] = map[call][]time.Duration{}
		}
		for k, d := range fsys.take() {
			spent[step][k] = append(spent[step][k], d)
		}
	}
	sizes := []int{1, 16, 256, 4096, 16384}
	const row = 8
	for range 9 {
		for _, i := range r.Perm(len(sizes)) {
			d := sizes[i]
			cells := []func(){
				func() { w.note(fmt.Sprint("floor ", d), writeOnce(b, filepath.Join(dir, "floor"), mem, dirty(d))) },
				func() {
					c := change(dirty(d))
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					start := time.Now()
					where(fmt.Sprint("commit ", d), func() { commit(stage(c)) })
					where(fmt.Sprint("apply ", d), apply)
					w.note(fmt.Sprint("applied ", d), time.Since(start))
					runtime.ReadMemStats(&after)
					allocs[d] = after.Mallocs - before.Mallocs
				},
				func() {
					if d > 4096 {
						return
					}
					sets := make([][]int, row)
					for i := range sets {
						sets[i] = dirty(d)
					}
					start := time.Now()
					var wg sync.WaitGroup
					for _, pages := range sets {
						st := stage(change(pages))
						wg.Wait()
						commit(st)
						wg.Go(apply)
					}
					wg.Wait()
					w.note(fmt.Sprint("row ", d), time.Since(start)/row)
				},
			}
			for _, c := range r.Perm(len(cells)) {
				syncDisk(b, dir)
				cells[c]()
			}
		}
	}
	for _, d := range sizes {
		floor := w.median(fmt.Sprint("floor ", d))
		ratio := func(what string) float64 { return float64(w.median(fmt.Sprint(what, " ", d))) / float64(floor) }
		fmt.Printf("%6d pages: floor %7.2f ms  commit %5.2f x  applied %5.2f x", d, millis(floor), ratio("commit"), ratio("applied"))
		if d <= 4096 {
			fmt.Printf("  in a row %5.2f x", ratio("row"))
		}
		fmt.Printf("  %d allocations\n", allocs[d])
	}
	for _, d := range sizes {
		for _, step := range []string{"commit", "apply"} {
			key := fmt.Sprint(step, " ", d)
			total, medians := w.median(key), map[call]time.Duration{}
			for k, t := range spent[key] {
				slices.Sort(t)
				medians[k] = t[len(t)/2]
			}
			fmt.Printf("%s: %.2f ms: %s\n", key, millis(total), breakdown(medians, total))
		}
	}
}

// writeOnce is the floor of a checkpoint.
func writeOnce(b *testing.B, name string, mem []byte, pages []int) time.Duration {
	b.Helper()
	_ = os.Remove(name) // of the last round; freeing its blocks is not the floor's cost
	syncDisk(b, filepath.Dir(name))
	start := time.Now()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 0, 1<<20)
	var off int64
	for i, p := range pages {
		buf = append(buf, mem[p*benchSize:(p+1)*benchSize]...)
		if len(buf) == cap(buf) || i == len(pages)-1 {
			if _, err := f.WriteAt(buf, off); err != nil {
				b.Fatal(err)
			}
			off += int64(len(buf))
			buf = buf[:0]
		}
	}
	if err := syscall.Fdatasync(int(f.Fd())); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// BenchmarkCopies prints what verify and backup of a store of 256 MiB cost:
// verify as a share of murmur3's speed on all cores over memory, backup as a
// share of the speed of cp --reflink=never and fsync. Where the file system can
// share blocks, "unread" is a backup that is not verified. Warm cache, medians
// of shuffled rounds in one run.
//
//	go test -run '^$' -bench Copies -benchtime 1x ./image
func BenchmarkCopies(b *testing.B) {
	dir := b.TempDir()
	src := filepath.Join(dir, "store")
	s, _, err := image.Open(b.Context(), src, &image.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	mem := make([]byte, benchPages*benchSize)
	for off := 0; off < len(mem); off += 8 {
		binary.LittleEndian.PutUint64(mem[off:], r.Uint64())
	}
	all := make([]int, benchPages)
	for i := range all {
		all[i] = i
	}
	err = checkpoint(s, image.Change{Pages: all, Low: int64(len(mem)), Content: func(i int) []byte { return mem[i*benchSize : (i+1)*benchSize] }})
	if err := errors.Join(err, s.Close(b.Context())); err != nil {
		b.Fatal(err)
	}
	w := stopwatch{}
	copied, shared := filepath.Join(dir, "copy"), false
	cell := func(what string, do func() error) func() {
		return func() {
			if err := os.RemoveAll(copied); err != nil {
				b.Fatal(err)
			}
			syncDisk(b, dir)
			start := time.Now()
			if err := do(); err != nil {
				b.Fatal(err)
			}
			w.note(what, time.Since(start))
		}
	}
	cells := []func(){
		cell("murmur", func() error { hashOnAllCores(mem); return nil }),
		cell("verify", func() error {
			report, err := image.Verify(b.Context(), src, nil, func(d *patch.Defect) { b.Error(d) }, nil)
			if report.Pages != benchPages {
				b.Errorf("%d pages verified", report.Pages)
			}
			return err
		}),
		cell("backup", func() error { _, err := image.Backup(b.Context(), src, copied, nil, nil); return err }),
		cell("unread", func() error {
			report, err := image.Backup(b.Context(), src, copied, &image.Options{Unread: true}, nil)
			shared = report.Shared
			return err
		}),
		cell("cp", func() error {
			if err := exec.Command("cp", "--reflink=never", filepath.Join(src, patch.ImageFile), copied).Run(); err != nil {
				return err
			}
			f, err := os.Open(copied)
			if err != nil {
				return err
			}
			return errors.Join(f.Sync(), f.Close())
		}),
	}
	for range 9 {
		for _, c := range r.Perm(len(cells)) {
			cells[c]()
		}
	}
	speed := func(what, floor string) float64 { return float64(w.median(floor)) / float64(w.median(what)) }
	fmt.Printf("verify %.2f ms, %.2f of murmur3's speed; backup %.2f ms, %.2f of the speed of cp and fsync\n",
		millis(w.median("verify")), speed("verify", "murmur"), millis(w.median("backup")), speed("backup", "cp"))
	if shared {
		fmt.Printf("backup with shared blocks, unread, %.2f ms\n", millis(w.median("unread")))
	}
}

func hashOnAllCores(mem []byte) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				off := next.Add(benchSize) - benchSize
				if off >= int64(len(mem)) {
					return
				}
				checksum.Sum64(mem[off : off+benchSize])
			}
		})
	}
	wg.Wait()
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
