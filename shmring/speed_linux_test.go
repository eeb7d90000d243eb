package shmring

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"loomstore/internal/mapping"
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
	inside bool // one process: goroutines
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
	{name: "PushBatch/PopBatch of 256", shapes: "one way", make: ringLine(batches{})},
	{name: "Reserve/Commit, Peek/Release", make: ringLine(zeroCopy{})},
	{name: "in place, batches of 64", shapes: "one way", make: ringLine(zeroCopyBatch{})},
	{name: "unix socket, write a message", make: newSocket(false)},
	{name: "unix socket, buffered 64 KB", shapes: "one way", make: newSocket(true)},
	{name: "Go channel, one process", inside: true},
}

// floor is a plain single-producer ring over shared memory, as fast as Go
// makes it and nothing else: head and tail on lines of their own, cached
// indices, copy in, copy out, spinning, no checks.
type floor struct {
	view       *mapping.View
	head, tail *atomic.Uint64
	buf        []byte
	in, out    floorEnd
}

const floorSize = 65536

type floorEnd struct {
	head, tail       *atomic.Uint64
	buf              []byte
	own, cachedOther uint64
}

func newFloor(name string, first bool) (line, error) {
	file := "/dev/shm/" + namePrefix + name + pushSuffix
	flags := os.O_RDWR
	if first {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(file, flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const each = 4096 + floorSize
	if first {
		if err := f.Truncate(2 * each); err != nil {
			return nil, err
		}
	}
	view, err := mapping.MapShared(f.Fd(), 0, 2*each, true)
	if err != nil {
		return nil, err
	}
	end := func(at int) floorEnd {
		return floorEnd{head: view.Uint64(at), tail: view.Uint64(at + 128), buf: view.Bytes()[at+4096 : at+each]}
	}
	fl := &floor{view: view, out: end(0), in: end(each)}
	if !first {
		fl.out, fl.in = fl.in, fl.out
	}
	return fl, nil
}

func floorSlot(n int) uint64 { return uint64(8+n+7) &^ 7 }

func (e *floorEnd) push(m []byte) {
	slot := floorSlot(len(m))
	for e.own+slot-e.cachedOther > floorSize {
		e.cachedOther = e.tail.Load()
	}
	at := e.own % floorSize
	binary.LittleEndian.PutUint64(e.buf[at:], uint64(len(m)))
	at = (at + 8) % floorSize
	if k := copy(e.buf[at:], m); k < len(m) {
		copy(e.buf, m[k:])
	}
	e.own += slot
	e.head.Store(e.own)
}

func (e *floorEnd) pop(buf []byte) int {
	for e.own == e.cachedOther {
		e.cachedOther = e.head.Load()
	}
	at := e.own % floorSize
	n := int(binary.LittleEndian.Uint64(e.buf[at:]))
	at = (at + 8) % floorSize
	if k := copy(buf[:n], e.buf[at:]); k < n {
		copy(buf[k:n], e.buf)
	}
	e.own += floorSlot(n)
	e.tail.Store(e.own)
	return n
}

func (f *floor) send(n, size int) error {
	m := message(size, 7)
	for range n {
		f.out.push(m)
	}
	return nil
}

func (f *floor) receive(n, size int) error {
	buf := make([]byte, size)
	for range n {
		f.in.pop(buf)
	}
	return nil
}

func (f *floor) turn(n, size int) error {
	m, buf := message(size, 7), make([]byte, size)
	for range n {
		f.out.push(m)
		f.in.pop(buf)
	}
	return nil
}

func (f *floor) answer(n, size int) error {
	buf := make([]byte, size)
	for range n {
		f.out.push(buf[:f.in.pop(buf)])
	}
	return nil
}

func (f *floor) Close() error { return f.view.Close() }

// ringEnds is a ring of ours and the way to use it.
type ringEnds struct {
	pair *Pair
	p    *Producer
	c    *Consumer
	style
}

type style interface {
	push(p *Producer, m []byte, n int) error
	pop(c *Consumer, buf []byte, n int) error
}

func ringLine(s style) func(string, bool) (line, error) {
	return func(name string, first bool) (line, error) {
		make := Open
		if first {
			make = Create
		}
		pair, err := make(name, nil)
		if err != nil {
			return nil, err
		}
		p, _ := pair.Producer()
		c, _ := pair.Consumer()
		return &ringEnds{pair, p, c, s}, nil
	}
}

func (r *ringEnds) send(n, size int) error {
	if err := r.push(r.p, message(size, 7), n); err != nil {
		return err
	}
	return r.p.Drain(context.Background())
}

func (r *ringEnds) receive(n, size int) error { return r.pop(r.c, make([]byte, size), n) }

func (r *ringEnds) turn(n, size int) error {
	m, buf := message(size, 7), make([]byte, size)
	for range n {
		if err := r.push(r.p, m, 1); err != nil {
			return err
		}
		if err := r.pop(r.c, buf, 1); err != nil {
			return err
		}
	}
	return nil
}

func (r *ringEnds) answer(n, size int) error {
	buf := message(size, 7)
	for range n {
		if err := r.pop(r.c, buf, 1); err != nil {
			return err
		}
		if err := r.push(r.p, buf, 1); err != nil {
			return err
		}
	}
	return r.p.Drain(context.Background())
}

func (r *ringEnds) Close() error { return r.pair.Close() }

type pushPop struct{}

func (pushPop) push(p *Producer, m []byte, n int) error {
	ctx := context.Background()
	for range n {
		if err := p.Push(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (pushPop) pop(c *Consumer, buf []byte, n int) error {
	ctx := context.Background()
	for range n {
		if _, err := c.Pop(ctx, buf); err != nil {
			return err
		}
	}
	return nil
}

type batches struct{}

const batchOf = 256

func (batches) push(p *Producer, m []byte, n int) error {
	ms := make([][]byte, batchOf)
	for i := range ms {
		ms[i] = m
	}
	for n > 0 {
		k, err := p.PushBatch(context.Background(), ms[:min(n, batchOf)])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func (batches) pop(c *Consumer, buf []byte, n int) error {
	buf, ends := make([]byte, 65536), make([]int, batchOf)
	for n > 0 {
		k, err := c.PopBatch(context.Background(), buf, ends[:min(n, batchOf)])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// zeroCopy fills a message in place and looks at every byte of it in place.
type zeroCopy struct{}

func (zeroCopy) push(p *Producer, m []byte, n int) error {
	ctx := context.Background()
	for range n {
		head, tail, err := p.Reserve(ctx, len(m))
		if err != nil {
			return err
		}
		copy(tail, m[copy(head, m):])
		if err := p.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func (zeroCopy) pop(c *Consumer, buf []byte, n int) error {
	ctx := context.Background()
	for range n {
		head, tail, err := c.Peek(ctx)
		if err != nil {
			return err
		}
		// Every byte is read in place, as a copy would have read it.
		if bytes.Count(head, sevens)+bytes.Count(tail, sevens) != len(buf) {
			return errors.New("message differs from the one sent")
		}
		if err := c.Release(); err != nil {
			return err
		}
	}
	return nil
}

// zeroCopyBatch is zeroCopy with many messages to a Commit and a Release.
type zeroCopyBatch struct{}

func (zeroCopyBatch) push(p *Producer, m []byte, n int) error {
	ctx := context.Background()
	most := min(64, 16384/len(m))
	for held := 0; n > 0; n-- {
		head, tail, err := p.Reserve(ctx, len(m))
		if err != nil {
			return err
		}
		copy(tail, m[copy(head, m):])
		if held++; held >= most || n == 1 {
			held = 0
			if err := p.Commit(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (zeroCopyBatch) pop(c *Consumer, buf []byte, n int) error {
	ctx := context.Background()
	most := min(64, 16384/len(buf))
	for held := 0; n > 0; n-- {
		head, tail, err := c.Peek(ctx)
		if err != nil {
			return err
		}
		if bytes.Count(head, sevens)+bytes.Count(tail, sevens) != len(buf) {
			return errors.New("message differs from the one sent")
		}
		if held++; held >= most || n == 1 {
			held = 0
			if err := c.Release(); err != nil {
				return err
			}
		}
	}
	return nil
}

var sevens = []byte{7}

// socket is a unix stream socket with a u32 length in front of each message.
type socket struct {
	conn *net.UnixConn
	r    io.Reader
	w    *bufio.Writer // nil: one write a message
	buf  []byte
}

func newSocket(buffered bool) func(string, bool) (line, error) {
	return func(name string, first bool) (line, error) {
		addr := &net.UnixAddr{Name: "@" + name, Net: "unix"}
		s := &socket{}
		if first {
			l, err := net.ListenUnix("unix", addr)
			if err != nil {
				return nil, err
			}
			fmt.Println("ready")
			if s.conn, err = l.AcceptUnix(); err != nil {
				return nil, err
			}
			l.Close()
		} else {
			var err error
			if s.conn, err = net.DialUnix("unix", nil, addr); err != nil {
				return nil, err
			}
		}
		s.r = s.conn
		if buffered {
			s.r, s.w = bufio.NewReaderSize(s.conn, 65536), bufio.NewWriterSize(s.conn, 65536)
		}
		return s, nil
	}
}

func (s *socket) write(m []byte) error {
	if s.w != nil {
		var length [4]byte
		binary.LittleEndian.PutUint32(length[:], uint32(len(m)))
		if _, err := s.w.Write(length[:]); err != nil {
			return err
		}
		_, err := s.w.Write(m)
		return err
	}
	s.buf = binary.LittleEndian.AppendUint32(s.buf[:0], uint32(len(m)))
	s.buf = append(s.buf, m...)
	_, err := s.conn.Write(s.buf)
	return err
}

// read takes a message off the socket: unbuffered, the size is known.
func (s *socket) read(buf []byte) error {
	if s.w != nil {
		var length [4]byte
		if _, err := io.ReadFull(s.r, length[:]); err != nil {
			return err
		}
		_, err := io.ReadFull(s.r, buf[:binary.LittleEndian.Uint32(length[:])])
		return err
	}
	if cap(s.buf) < 4+len(buf) {
		s.buf = make([]byte, 4+len(buf))
	}
	_, err := io.ReadFull(s.r, s.buf[:4+len(buf)])
	copy(buf, s.buf[4:4+len(buf)])
	return err
}

func (s *socket) send(n, size int) error {
	m := message(size, 7)
	for range n {
		if err := s.write(m); err != nil {
			return err
		}
	}
	if s.w != nil {
		return s.w.Flush()
	}
	return nil
}

func (s *socket) receive(n, size int) error {
	buf := make([]byte, size)
	for range n {
		if err := s.read(buf); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) turn(n, size int) error {
	m, buf := message(size, 7), make([]byte, size)
	for range n {
		if err := s.write(m); err != nil {
			return err
		}
		if err := s.read(buf); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) answer(n, size int) error {
	buf := make([]byte, size)
	for range n {
		if err := s.read(buf); err != nil {
			return err
		}
		if err := s.write(buf); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) Close() error { return s.conn.Close() }

// measureChannel passes messages through a Go channel, copying them in and
// out of a pool as large as a ring.
func measureChannel(shape string, size int) float64 {
	n := benchCount(shape, "channel", size)
	slots := max(1, 65536/(size+8))
	type pipe struct{ full, empty chan []byte }
	newPipe := func() pipe {
		p := pipe{make(chan []byte, slots), make(chan []byte, slots)}
		for range slots {
			p.empty <- make([]byte, size)
		}
		return p
	}
	push := func(p pipe, m []byte) { b := <-p.empty; copy(b, m); p.full <- b }
	pop := func(p pipe, buf []byte) { b := <-p.full; copy(buf, b); p.empty <- b }
	there, back := newPipe(), newPipe()
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		m, buf := message(size, 7), make([]byte, size)
		for range n {
			push(there, m)
			if shape == "round trip" {
				pop(back, buf)
			}
		}
	}()
	buf := make([]byte, size)
	for range n {
		pop(there, buf)
		if shape == "round trip" {
			push(back, buf)
		}
	}
	<-done
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}
