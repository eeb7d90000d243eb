//go:build loomheap

package loom_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"loomstore/fault"
	"loomstore/loom"
)

// These run in the build whose arena is on the Go heap, where the race detector
// sees it: go test -race -tags loomheap ./loom -run Heap.

const heapSize = 64 * loom.PageSize

func openHeap(t *testing.T, dir string) *loom.Loom {
	t.Helper()
	l, err := loom.Open(dir, &loom.Options{Size: heapSize, VerifyFull: true})
	if err != nil {
		t.Fatal(err)
	}
	if kind := l.Metrics().Tracker; kind != fault.Compare {
		t.Fatalf("tracked by %s", kind)
	}
	return l
}

// A program that stores whenever it may, and only loads otherwise, does not
// race with anything that the engine does: capture, body, commit, apply,
// growth, shrink, rollback.
func TestHeapEngineDoesNotRace(t *testing.T) {
	dir := t.TempDir()
	l := openHeap(t, dir)
	mem := l.Bytes()
	stored := func(round, pages int) {
		for p := range pages {
			binary.LittleEndian.PutUint64(mem[p*loom.PageSize:], uint64(round))
		}
	}
	var want []byte
	for round := range 30 {
		pages := 4 + round*7%20
		if err := l.SetWatermarks(int64(pages*loom.PageSize), heapSize); err != nil {
			t.Fatal(err)
		}
		stored(round, pages)
		want = bytes.Clone(mem[:pages*loom.PageSize])
		switch round % 3 {
		case 0:
			readWhile(l, 4, func() { save(t, l) })
			stored(-1, pages) // beside the apply
		case 1:
			p, err := l.CheckpointAsync(ctx)
			if err != nil {
				t.Fatal(err)
			}
			stored(-1, pages) // beside the body and the commit
			if err := p.Wait(ctx); err != nil {
				t.Fatal(err)
			}
		case 2:
			save(t, l)
			stored(-1, pages)
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(mem[:len(want)], want) {
				t.Fatal("rolled back to other bytes")
			}
		}
	}
	shut(t, l)
	l = openHeap(t, dir)
	if !bytes.Equal(l.Bytes()[:len(want)], want) {
		t.Fatal("reopened with other bytes")
	}
	shut(t, l)
}

// readWhile loads the first pages from other goroutines while do runs.
func readWhile(l *loom.Loom, pages int, do func()) {
	mem, stop := l.Bytes(), make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for sum := byte(0); ; {
				select {
				case <-stop:
					_ = sum
					return
				default:
				}
				for _, b := range mem[:pages*loom.PageSize] {
					sum += b
				}
			}
		})
	}
	do()
	close(stop)
	readers.Wait()
}

// A store during a checkpoint, against the rules, is seen by the race detector.
func TestHeapShowsAStoreDuringACheckpoint(t *testing.T) {
	if !raceDetector {
		t.Skip("not run without the race detector")
	}
	const variable = "LOOM_HEAP_RACE"
	if os.Getenv(variable) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestHeapShowsAStoreDuringACheckpoint$")
		c.Env = append(os.Environ(), variable+"=1")
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "DATA RACE") {
			t.Errorf("no race was reported: %v\n%s", err, out)
		}
		return
	}
	l := openHeap(t, t.TempDir())
	l.Bytes()[0] = 1
	var storing sync.WaitGroup
	storing.Go(func() { l.Bytes()[8] = 2 })
	save(t, l)
	storing.Wait()
	shut(t, l)
}
