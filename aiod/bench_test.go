//go:build linux

package aiod_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"loomstore/aiod"

	"golang.org/x/sys/unix"
)

// BenchmarkRatios measures what docs/aiod.md reports: every way of doing the
// same file work, in one run, in rounds of shuffled order, as multiples of a
// floor. The floor is one hop without file work: 8 bytes to another process
// through a pipe and back through a socket.
func BenchmarkRatios(b *testing.B) {
	dir := b.TempDir()
	name := filepath.Join(dir, "file")
	const size = 64 << 20
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	direct, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer direct.Close()
	if err := direct.Sync(); err != nil {
		b.Fatal(err)
	}
	open := func(o aiod.Options) *aiod.File {
		f, err := start(b, o).OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	one, two, native := open(aiod.Options{}), open(aiod.Options{Daemons: 2}), open(aiod.Options{Native: true})
	echo := startEcho(b)

	pages := func() int64 { return rand.Int64N(size/4096) * 4096 }
	read := func(r interface {
		ReadAt([]byte, int64) (int, error)
	}, depth int) func(n int) {
		return func(n int) {
			inParallel(depth, n, func() func() {
				p := make([]byte, 4096)
				return func() {
					if _, err := r.ReadAt(p, pages()); err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
	batches := func(f *aiod.File, depth int) func(n int) {
		blocks := make([]aiod.Block, depth)
		for i := range blocks {
			blocks[i].Buf = make([]byte, 4096)
		}
		return func(n int) {
			for ; n > 0; n -= len(blocks) {
				for i := range blocks {
					blocks[i] = aiod.Block{Buf: blocks[i].Buf, Off: pages()}
				}
				if err := f.ReadBlocks(blocks); err != nil {
					b.Error(err)
				}
			}
		}
	}
	durable := func(write func([]byte, int64) (int, error), sync func() error) func(n int) {
		p := make([]byte, 16384)
		return func(n int) {
			for range n {
				if _, err := write(p, pages()/16384*16384); err != nil {
					b.Error(err)
				}
				if err := sync(); err != nil {
					b.Error(err)
				}
			}
		}
	}
	pool := newPool(b, direct, 8)
	cells := []*cell{
		{name: "hop", n: 200, run: echo},
		{name: "read/direct/depth1", n: 200, run: read(direct, 1)},
		{name: "read/goroutines/depth1", n: 200, run: read(pool, 1)},
		{name: "read/goroutines/depth8", n: 400, run: read(pool, 8)},
		{name: "read/ABI2/depth1", n: 200, run: read(one, 1)},
		{name: "read/ABI2/depth8", n: 400, run: read(one, 8)},
		{name: "read/ABI2/batch8", n: 400, run: batches(one, 8)},
		{name: "read/ABI2/batch32", n: 640, run: batches(one, 32)},
		{name: "read/ABI2x2/depth8", n: 400, run: read(two, 8)},
		{name: "read/native/depth1", n: 200, run: read(native, 1)},
		{name: "read/native/depth8", n: 400, run: read(native, 8)},
		{name: "read/native/batch8", n: 400, run: batches(native, 8)},
		{name: "read/native/batch32", n: 640, run: batches(native, 32)},
		{name: "write+fsync16K/direct", n: 10, run: durable(direct.WriteAt, direct.Sync)},
		{name: "write+fsync16K/ABI2", n: 10, run: durable(one.WriteAt, one.Sync)},
		{name: "write+fsync16K/native", n: 10, run: durable(native.WriteAt, native.Sync)},
		{name: "WriteSync16K/ABI2", n: 10, run: durable(one.WriteSync, func() error { return nil })},
		{name: "WriteSync16K/native", n: 10, run: durable(native.WriteSync, func() error { return nil })},
	}
	const rounds = 201
	for b.Loop() {
		for _, c := range cells {
			c.times = nil
		}
		for range rounds {
			for _, i := range rand.Perm(len(cells)) {
				c := cells[i]
				began := time.Now()
				c.run(c.n)
				c.times = append(c.times, time.Since(began)/time.Duration(c.n))
			}
		}
	}
	// The machine's load changes from round to round: what is compared was
	// measured in the same one.
	byName := map[string]*cell{}
	for _, c := range cells {
		byName[c.name] = c
	}
	var table strings.Builder
	for _, c := range cells {
		times := slices.Sorted(slices.Values(c.times))
		fmt.Fprintf(&table, "%-26s median %9v  fastest tenth %9v  hops %5.2f\n",
			c.name, times[len(times)/2], times[len(times)/10], c.over(byName["hop"]))
	}
	fmt.Fprintf(os.Stderr, "\n%s", &table) // b.Log would cut it off
	ratio := func(unit, a, of string) {
		b.ReportMetric(byName[a].over(byName[of]), unit)
	}
	b.ReportMetric(0, "ns/op") // means nothing here
	ratio("read-depth1/hop", "read/ABI2/depth1", "hop")
	ratio("read-depth8/hop", "read/ABI2/depth8", "hop")
	ratio("read-batch8/hop", "read/ABI2/batch8", "hop")
	ratio("native-batch8/ABI2-depth8", "read/native/batch8", "read/ABI2/depth8")
	ratio("native-batch32/ABI2-depth8", "read/native/batch32", "read/ABI2/depth8")
	ratio("durable-rate/direct", "write+fsync16K/direct", "write+fsync16K/ABI2")
	ratio("durable-native-rate/direct", "write+fsync16K/direct", "write+fsync16K/native")
	ratio("WriteSync-rate/direct", "write+fsync16K/direct", "WriteSync16K/ABI2")
	ratio("WriteSync-native-rate/direct", "write+fsync16K/direct", "WriteSync16K/native")
}

// cell is one way of doing something n times.
type cell struct {
	name  string
	n     int
	run   func(n int)
	times []time.Duration // an operation, by round
}

// over is the median of the rounds' ratios to another cell.
func (c *cell) over(other *cell) float64 {
	ratios := make([]float64, len(c.times))
	for i := range ratios {
		ratios[i] = float64(c.times[i]) / float64(other.times[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// inParallel does n operations in depth goroutines.
func inParallel(depth, n int, worker func() func()) {
	if depth == 1 {
		do := worker()
		for range n {
			do()
		}
		return
	}
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range depth {
		do := worker()
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				do()
			}
		})
	}
	wg.Wait()
}

// pool is reads handed to goroutines over a channel.
type pool struct {
	f    *os.File
	jobs chan *job
}

type job struct {
	p    []byte
	off  int64
	n    int
	err  error
	done chan struct{}
}

func newPool(b *testing.B, f *os.File, workers int) *pool {
	p := &pool{f: f, jobs: make(chan *job)}
	for range workers {
		go func() {
			for j := range p.jobs {
				j.n, j.err = f.ReadAt(j.p, j.off)
				j.done <- struct{}{}
			}
		}()
	}
	b.Cleanup(func() { close(p.jobs) })
	return p
}

func (p *pool) ReadAt(b []byte, off int64) (int, error) {
	j := &job{p: b, off: off, done: make(chan struct{}, 1)}
	p.jobs <- j
	<-j.done
	return j.n, j.err
}

// startEcho starts the other end of the floor and returns n hops. Both ends
// call the kernel without the Go scheduler's knowledge, which is the least
// that a hop can cost.
func startEcho(b *testing.B) func(n int) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	from, to := os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(s[1]), "socket")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "AIOD_TEST_CHILD=echo")
	cmd.ExtraFiles = []*os.File{from, to}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	from.Close()
	to.Close()
	b.Cleanup(func() {
		unix.Close(p[1])
		unix.Close(s[0])
		cmd.Wait()
	})
	return func(n int) {
		for range n {
			if err := hop(unix.SYS_WRITE, p[1], unix.SYS_READ, s[0]); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func init() {
	children["echo"] = func() {
		for hop(unix.SYS_READ, 3, unix.SYS_WRITE, 4) == nil {
		}
	}
}

var hopMessage [8]byte

// hop makes two calls that move 8 bytes.
func hop(first uintptr, fd1 int, second uintptr, fd2 int) error {
	addr := reflect.ValueOf(&hopMessage).Pointer()
	for _, c := range [][2]uintptr{{first, uintptr(fd1)}, {second, uintptr(fd2)}} {
		n, _, errno := unix.RawSyscall(c[0], c[1], addr, uintptr(len(hopMessage)))
		if errno != 0 {
			return errno
		}
		if n != uintptr(len(hopMessage)) {
			return io.EOF
		}
	}
	return nil
}
