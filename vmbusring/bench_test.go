//go:build linux

package vmbusring_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"loomstore/vmbusring"
)

// lane is one way to move packets through a ring: the real one, or the floor,
// each with a commit for every packet or for every batch of them.
type lane interface {
	// push writes n packets of the lane's payload, waiting for room.
	push(n int)
	// pop reads n packets, waiting for them.
	pop(n int)
}

const benchBatch = 16

// batchOf is 1, or what benchBatch packets of that size may take of a ring.
func batchOf(batched bool, ringSize, payload int) int {
	if !batched {
		return 1
	}
	return max(1, min(benchBatch, ringSize/2/(payload+24)))
}

type ringLane struct {
	w     *vmbusring.Writer
	r     *vmbusring.Reader
	p     vmbusring.Packet
	into  []vmbusring.Packet
	batch int
}

func newRingLane(mem vmbusring.Memory, payload, batch int) *ringLane {
	w, err := vmbusring.NewWriter(mem)
	if err != nil {
		panic(err)
	}
	r, err := vmbusring.NewReader(mem, 0)
	if err != nil {
		panic(err)
	}
	return &ringLane{
		w: w, r: r, batch: batch, into: make([]vmbusring.Packet, batch),
		p: vmbusring.Packet{Type: vmbusring.InBand, Payload: make([]byte, payload)},
	}
}

func (l *ringLane) push(n int) {
	for n > 0 {
		k := min(n, l.batch)
		for range k {
			for looks := 0; l.w.Append(&l.p) != nil; looks++ {
				l.w.Commit()
				pause(looks)
			}
		}
		l.w.Commit()
		n -= k
	}
}

func (l *ringLane) pop(n int) {
	looks := 0
	for n > 0 {
		var k int
		var err error
		if l.batch == 1 {
			k, err = 1, l.r.Read(&l.into[0])
		} else {
			k, err = l.r.ReadBatch(l.into[:min(n, l.batch)])
		}
		if err != nil {
			pause(looks)
			looks++
			continue
		}
		looks = 0
		l.r.Commit()
		n -= k
	}
}

type floorLane struct {
	r     *floorRing
	p     []byte
	into  [][]byte
	batch int
}

func newFloorLane(mem *vmbusring.Flat, header uint32, payload, batch int) *floorLane {
	l := &floorLane{r: newFloorRing(mem, header), p: make([]byte, payload), batch: batch}
	for range batch {
		l.into = append(l.into, make([]byte, payload))
	}
	return l
}

func (l *floorLane) push(n int) {
	for n > 0 {
		k := min(n, l.batch)
		for range k {
			for looks := 0; !l.r.push(l.p); looks++ {
				l.r.publish()
				pause(looks)
			}
		}
		l.r.publish()
		n -= k
	}
}

func (l *floorLane) pop(n int) {
	looks := 0
	for n > 0 {
		k := 0
		for k < min(n, l.batch) && l.r.pop(l.into[k]) >= 0 {
			k++
		}
		if k == 0 {
			pause(looks)
			looks++
			continue
		}
		looks = 0
		l.r.release()
		n -= k
	}
}

func newLane(kind string, mem *vmbusring.Flat, payload, batch int) lane {
	switch kind {
	case "ring":
		return newRingLane(mem, payload, batch)
	case "floor8":
		return newFloorLane(mem, 8, payload, batch)
	default:
		return newFloorLane(mem, 4, payload, batch)
	}
}

// BenchmarkRing compares a ring with the floor in the same run: rounds of
// both, in shuffled order, over the same memory. The result is the quotient of
// the medians; one iteration is one round.
func BenchmarkRing(b *testing.B) {
	for _, where := range []string{"one thread", "two processes"} {
		for _, ringSize := range []int{65536, 2 << 20} {
			for _, payload := range []int{64, 1024, 16384} {
				b.Run(fmt.Sprintf("%s/ring %d/payload %d", where, ringSize, payload), func(b *testing.B) {
					var lanes []measured
					for _, batched := range []bool{false, true} {
						for _, kind := range []string{"floor", "floor8", "ring"} {
							if where == "one thread" {
								lanes = append(lanes, oneThread(b, kind, ringSize, payload, batched))
							} else {
								lanes = append(lanes, twoProcesses(b, kind, ringSize, payload, batched))
							}
						}
					}
					compare(b, lanes)
				})
			}
		}
	}
}

// measured is a lane that can be run for a while.
type measured struct {
	name string
	run  func(packets int)
	n    int // packets a round
	ns   []float64
}

func oneThread(b *testing.B, kind string, ringSize, payload int, batched bool) measured {
	mem, err := vmbusring.NewFlat(ringSize)
	if err != nil {
		b.Fatal(err)
	}
	batch := batchOf(batched, ringSize, payload)
	l := newLane(kind, mem, payload, batch)
	return measured{name: laneName(kind, batched), n: 1 << 23 / (payload + 1024), run: func(n int) {
		for n > 0 {
			l.push(batch)
			l.pop(batch)
			n -= batch
		}
	}}
}

// twoProcesses measures from the first packet written here until the other
// process says that it has read the last one.
func twoProcesses(b *testing.B, kind string, ringSize, payload int, batched bool) measured {
	name := filepath.Join(b.TempDir(), "ring")
	f, err := vmbusring.OpenFile(name, ringSize)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	batch := batchOf(batched, ringSize, payload)
	l := newLane(kind, f.Ring(0), payload, batch)
	m := measured{name: laneName(kind, batched), n: 1 << 25 / (payload + 1024)}
	other := startPeer(b, "drain", nil, name, ringSize, kind, payload, batch, m.n)
	m.run = func(n int) {
		fmt.Fprintln(other.stdin) // let it spin while we measure it, only
		if !other.out.Scan() {
			b.Fatal("the other process has ended")
		}
		l.push(n)
		if !other.out.Scan() {
			b.Fatal("the other process has ended")
		}
	}
	return m
}

func laneName(kind string, batched bool) string {
	if batched {
		return kind + " batched"
	}
	return kind
}

func compare(b *testing.B, lanes []measured) {
	for _, l := range lanes {
		l.run(l.n) // caches, page faults
	}
	for b.Loop() {
		for _, i := range rand.Perm(len(lanes)) {
			l := &lanes[i]
			start := time.Now()
			l.run(l.n)
			l.ns = append(l.ns, float64(time.Since(start))/float64(l.n))
		}
	}
	median := map[string]float64{}
	for _, l := range lanes {
		slices.Sort(l.ns)
		median[l.name] = l.ns[len(l.ns)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median["floor"], "floor-ns/packet")
	b.ReportMetric(median["ring"], "ring-ns/packet")
	b.ReportMetric(median["ring"]/median["floor"], "x-floor")
	b.ReportMetric(median["ring"]/median["floor8"], "x-aligned-floor")
	b.ReportMetric(median["ring batched"]/median["floor"], "batched-x-floor")
	b.ReportMetric(median["ring batched"]/median["floor batched"], "batched-x-batched-floor")
}
