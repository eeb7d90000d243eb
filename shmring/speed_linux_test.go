package shmring

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkTwoProcesses prints the table of docs/ring.md: every transport
// between two processes pinned to two CPUs, beside the floor of the same
// round. Rounds shuffle the order; a cell is the median and the best of the
// rounds, in ns and as a ratio to the floor's.
//
//	go test -run '^$' -bench TwoProcesses -benchtime 1x -v ./shmring
//
// SHMRING_ROUNDS sets the number of rounds, SHMRING_ONLY a part of the
// transports' names.
func BenchmarkTwoProcesses(b *testing.B) {
	rounds := 3
	if s := os.Getenv("SHMRING_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	shapes := []string{"one way", "round trip"}
	if s := os.Getenv("SHMRING_SHAPE"); s != "" {
		shapes = []string{s}
	}
	for b.Loop() {
		for _, shape := range shapes {
			table(b, shape, rounds)
		}
	}
}

var benchSizes = []int{64, 1024, 16384}

func table(b *testing.B, shape string, rounds int) {
	type cell struct {
		transport string
		size      int
	}
	ns := map[cell][]float64{}
	ratio := map[cell][]float64{}
	var order []cell
	only := os.Getenv("SHMRING_ONLY")
	for _, tr := range transports {
		if tr.shapes != "" && tr.shapes != shape || only != "" && tr.name != "floor" && !strings.Contains(tr.name, only) {
			continue
		}
		for _, size := range benchSizes {
			order = append(order, cell{tr.name, size})
		}
	}
	for range rounds {
		round := slices.Clone(order)
		rand.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		took := map[cell]float64{}
		for _, c := range round {
			took[c] = measure(b, c.transport, shape, c.size)
		}
		for _, c := range round {
			ns[c] = append(ns[c], took[c])
			ratio[c] = append(ratio[c], took[c]/took[cell{"floor", c.size}])
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n%-34s", shape+": median, best (x floor)")
	for _, size := range benchSizes {
		fmt.Fprintf(&out, "%31d B", size)
	}
	for i, c := range order {
		if i%len(benchSizes) == 0 {
			fmt.Fprintf(&out, "\n%-34s", c.transport)
		}
		best := slices.Min(ns[c])
		fmt.Fprintf(&out, "%8.0f %8.0f (%5.2fx %5.2fx)", median(ns[c]), best, median(ratio[c]), best/slices.Min(ns[cell{"floor", c.size}]))
	}
	fmt.Println(out.String())
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// transport is one way to get messages from a process to another. send and
// receive return when all n messages have passed; turn and answer are the two
// sides of n round trips.
type transport struct {
	name   string
	shapes string // "" = both
	make   func(name string, first bool) (line, error)
}

// line is one end of a transport.
type line interface {
	send(n, size int) error
	receive(n, size int) error
	turn(n, size int) error
	answer(n, size int) error
	io.Closer
}

// measure returns the nanoseconds a message or round trip took.
func measure(b *testing.B, tr, shape string, size int) float64 {
	name := uniqueName(b)
	if tr == "Go channel, one process" {
		return measureChannel(shape, size)
	}
	n := benchCount(shape, tr, size)
	first := startPinned(b, 0, "bench", tr, name, "first", shape, size, n)
	if got := first.line(b); got != "ready" {
		b.Fatalf("first end: %s", got)
	}
	second := startPinned(b, 1, "bench", tr, name, "second", shape, size, n)
	second.line(b) // ready
	took, err := strconv.ParseFloat(second.line(b), 64)
	if err != nil {
		b.Fatal(err)
	}
	first.finish(b)
	second.finish(b)
	return took
}

func benchCount(shape, tr string, size int) int {
	n := 100_000
	if size > 1024 {
		n = 10_000
	}
	if shape == "round trip" {
		n /= 5
	}
	if strings.HasPrefix(tr, "unix") {
		n /= 4
	}
	return n
}

// startPinned starts a role on one CPU: a process inherits the affinity of the
// thread that forks it.
func startPinned(b *testing.B, cpu int, role string, args ...any) *child {
	restore := pin(cpu)
	defer restore()
	return start(b, role, args...)
}

func init() {
	roles["bench"] = func(args []string) error {
		size, _ := strconv.Atoi(args[4])
		n, _ := strconv.Atoi(args[5])
		first := args[2] == "first"
		i := slices.IndexFunc(transports, func(t transport) bool { return t.name == args[0] })
		l, err := transports[i].make(args[1], first)
		if err != nil {
			return err
		}
		defer l.Close()
		fmt.Println("ready")
		// The second end times blocks and reports their median: a block in
		// which somebody else had the processor does not count.
		side, block := l.send, n
		switch {
		case args[3] == "one way" && !first:
			side, block = l.receive, n/benchBlocks
		case args[3] != "one way" && first:
			side = l.answer
		case args[3] != "one way":
			side, block = l.turn, n/benchBlocks
		}
		var took []float64
		for done := 0; done < n; done += block {
			began := time.Now()
			if err := side(block, size); err != nil {
				return err
			}
			took = append(took, float64(time.Since(began).Nanoseconds())/float64(block))
		}
		if !first {
			fmt.Println(median(took))
		}
		return nil
	}
}

// benchBlocks divides every count of messages.
const benchBlocks = 100

var transports = []transport{
	{name: "floor", make: newFloor},
	{name: "Push/Pop", make: ringLine(pushPop{})},
	{name: "PushBatch/PopBatch of 1024", shapes: "one way", make: ringLine(batches{})},
	{name: "Reserve/Commit, Peek/Release", make: ringLine(zeroCopy{})},
	{name: "in place, batches of 64", shapes: "one way", make: ringLine(zeroCopyBatch{})},
	{name: "unix socket, write a message", make: newSocket(false)},
	{name: "unix socket, buffered 64 KB", shapes: "one way", make: newSocket(true)},
	{name: "Go channel, one process"}, // measureChannel,
}
