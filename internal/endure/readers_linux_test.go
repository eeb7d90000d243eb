package endure

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"loomstore/fault"
	"loomstore/loom"
)

// Loads of live pages from other goroutines, while checkpoints shrink the image
// under them and let it grow again: they see what was stored, whatever the
// tracker does to the mapping. What lies above the new end keeps its content.
func TestReadersDuringShrink(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Uffd, fault.Mprotect, fault.Cow, fault.Compare} {
		t.Run(string(kind), func(t *testing.T) { readersDuringShrink(t, kind) })
	}
}

func readersDuringShrink(t *testing.T, kind fault.Kind) {
	const live, most, rounds = 8, 40, 40
	dir, o := filepath.Join(t.TempDir(), "store"), &loom.Options{Size: arena, Tracker: kind}
	s := schedule{3}
	want := make([]byte, live*pageSize)
	for p := range live {
		s.fill(want[p*pageSize:], 1, p)
	}
	open := func() *loom.Loom {
		l, err := loom.Open(dir, o)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skipf("not run here: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	save := func(l *loom.Loom, pages int) {
		t.Helper()
		if err := l.SetWatermarks(int64(pages*pageSize), arena); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	l := open()
	copy(l.Bytes(), want)
	l.Bytes()[most*pageSize-1] = 1
	save(l, most)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open() // all of it is a file mapping now
	mem := l.Bytes()
	var reading sync.WaitGroup
	var loads, wrong atomic.Int64
	stop := make(chan struct{})
	for n := range 2 {
		reading.Go(func() {
			for p := n; ; p = (p + 1) % live {
				select {
				case <-stop:
					return
				default:
				}
				if !bytes.Equal(mem[p*pageSize:(p+1)*pageSize], want[p*pageSize:(p+1)*pageSize]) {
					wrong.Add(1)
				}
				loads.Add(1)
			}
		})
	}
	above := make([]byte, (most-live)*pageSize)
	for round := range rounds {
		end := live + round%(most-live)
		for p := live; p < most; p++ {
			s.fill(above[(p-live)*pageSize:], uint64(round+2), p)
		}
		copy(mem[live*pageSize:], above)
		save(l, most)
		save(l, end)
		if err := l.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mem[live*pageSize:most*pageSize], above) {
			t.Fatalf("round %d: shrinking to %d pages changed the arena above", round, end)
		}
	}
	close(stop)
	reading.Wait()
	if wrong.Load() > 0 || loads.Load() == 0 {
		t.Errorf("%d of %d loads saw something else", wrong.Load(), loads.Load())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open()
	if !bytes.Equal(l.Bytes()[:len(want)], want) {
		t.Error("reopened with other bytes")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
