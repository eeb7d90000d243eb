package loom_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"loomstore/fault"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/loom"
)

// TestAsyncFailureIsReported: by the event; by Wait; and, if nobody has waited,
// by whatever comes next, once. Then the pages are saved, those stored to
// meanwhile as they are then.
func TestAsyncFailureIsReported(t *testing.T) {
	next := map[string]func(l *loom.Loom, p *loom.Pending) error{
		"Wait": func(_ *loom.Loom, p *loom.Pending) error { return p.Wait(ctx) },
		"Checkpoint": func(l *loom.Loom, _ *loom.Pending) error {
			_, err := l.Checkpoint(ctx)
			return err
		},
		"CheckpointAsync": func(l *loom.Loom, _ *loom.Pending) error {
			_, err := l.CheckpointAsync(ctx)
			return err
		},
		"Loom.Wait": func(l *loom.Loom, _ *loom.Pending) error { return l.Wait(ctx) },
		"Trim":      func(l *loom.Loom, _ *loom.Pending) error { return l.Trim() },
	}
	for name, report := range next {
		for _, kind := range []fault.Kind{fault.Auto, fault.Mprotect} {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				dir, opts := t.TempDir(), &loom.Options{Tracker: kind}
				bad := &switchable{err: syscall.EIO, kind: vfs.Sync, name: "memory.bin"}
				opts.FS = errorfs.New(vfs.OS, bad)
				var mu sync.Mutex
				var failed []uint64
				opts.Events = func(e loom.Event) {
					mu.Lock()
					defer mu.Unlock()
					if e.Kind == loom.Failed && errors.Is(e.Err, syscall.EIO) {
						failed = append(failed, e.Epoch)
					}
				}
				l := open(t, dir, opts)
				for p := range 8 {
					l.Bytes()[p*page] = 1
				}
				save(t, l)
				l.Bytes()[2*page], l.Bytes()[3*page] = 2, 2
				bad.set(true)
				p, err := l.CheckpointAsync(ctx)
				if err != nil {
					t.Fatal(err)
				}
				l.Bytes()[3*page], l.Bytes()[4*page] = 3, 3
				if err := report(l, p); !errors.Is(err, syscall.EIO) {
					t.Fatalf("reported %v", err)
				}
				bad.set(false)
				if err := p.Wait(ctx); !errors.Is(err, syscall.EIO) {
					t.Fatalf("Wait: %v", err)
				}
				if c := save(t, l); c.Epoch != 2 || c.Pages < 3 {
					t.Fatalf("the next one: %+v", c)
				}
				mu.Lock()
				if !slices.Equal(failed, []uint64{2}) {
					t.Errorf("events of failures: %v", failed)
				}
				mu.Unlock()
				shut(t, l)
				l = open(t, dir, &loom.Options{})
				for p, want := range []byte{1, 1, 2, 3, 3, 1, 1, 1} {
					if got := l.Bytes()[p*page]; got != want {
						t.Errorf("page %d holds %d, want %d", p, got, want)
					}
				}
				shut(t, l)
			})
		}
	}
}

// TestAsyncWaitsForTheOneBefore: and gives up when its context is done, without
// touching what is on its way.
func TestAsyncWaitsForTheOneBefore(t *testing.T) {
	hold := &holding{name: "memory.bin", reached: make(chan struct{}), release: make(chan struct{})}
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{FS: errorfs.New(vfs.OS, hold)})
	l.Bytes()[page] = 1
	hold.on.Store(true)
	p, err := l.CheckpointAsync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	<-hold.reached
	l.Bytes()[page] = 2
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := p.Wait(done); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait: %v", err)
	}
	if _, err := l.CheckpointAsync(done); !errors.Is(err, context.Canceled) {
		t.Fatalf("CheckpointAsync: %v", err)
	}
	close(hold.release)
	if err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Rollback(); err != nil || l.Bytes()[page] != 1 {
		t.Fatalf("the capture held %d, %v", l.Bytes()[page], err)
	}
	shut(t, l)
}

// holding stops the first sync of a file, once it is on, until it is released.
type holding struct {
	name             string
	on               atomic.Bool
	once             sync.Once
	reached, release chan struct{}
}

func (h *holding) Inject(op errorfs.Op) *errorfs.Fault {
	if h.on.Load() && op.Kind == vfs.Sync && filepath.Base(op.Name) == h.name {
		h.once.Do(func() {
			close(h.reached)
			<-h.release
		})
	}
	return nil
}
