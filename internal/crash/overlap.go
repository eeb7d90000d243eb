package crash

import (
	"context"
	"sync"

	"loomstore/image"
	"loomstore/internal/vfs"
)

// sides of an overlap.
const (
	applying = iota
	staging
)

// turns lets the operations of an apply and of the next stage happen in one
// given order, whatever the goroutines do. Both stand still at their next
// operation until it is decided whose is first, so reads have one order too.
type turns struct {
	mu      sync.Mutex
	moved   sync.Cond
	waiting [2]bool
	ended   [2]bool
	done    [2]int
	// next says whose operation comes next, given how many each has done.
	next func(done [2]int) int
	on   bool
}

// sideOf tells by the operation who does it: a stage reserves space and writes
// memory.bin, an apply does neither.
func sideOf(s *step) int {
	if s.Kind == vfs.Allocate || s.File == "memory.bin" {
		return staging
	}
	return applying
}

func (t *turns) via(s *step, do func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return do()
	}
	side := sideOf(s)
	t.waiting[side] = true
	t.moved.Broadcast()
	for !t.mayGo(side) {
		t.moved.Wait()
	}
	t.waiting[side] = false
	t.done[side]++
	return do()
}

func (t *turns) mayGo(side int) bool {
	other := 1 - side
	return t.ended[other] || t.waiting[other] && t.next(t.done) == side
}

func (t *turns) end(side int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[side] = true
	t.moved.Broadcast()
}

// overlaps returns the act of taking checkpoints of which each is staged while
// the one before is applied, in the order that next gives.
func overlaps(p loom, next func(done [2]int) int, changes ...change) act {
	return func(fsys vfs.FS, l *ledger) error {
		t := &turns{next: next}
		t.moved.L = &t.mu
		opened, err := opened(p, &tap{FS: fsys, via: t.via}, l)
		if err != nil {
			return err
		}
		s := opened.(*loomSession)
		if err := s.commit(l, changes[0]); err != nil {
			return bad(saveFails, "%w", err)
		}
		for _, ch := range changes[1:] {
			st, err := s.both(t, s.change(l, ch))
			if err == nil {
				err = s.commitStaged(l, st)
			}
			if err != nil {
				return bad(saveFails, "%w", err)
			}
		}
		if err := s.apply(); err != nil {
			return bad(saveFails, "%w", err)
		}
		return s.close()
	}
}

// both applies the last checkpoint and stages the next, at the same time.
func (s *loomSession) both(t *turns, c image.Change) (st *image.Staged, err error) {
	phase(s.fsys, "apply and stage")
	t.on, t.ended, t.waiting, t.done = true, [2]bool{}, [2]bool{}, [2]int{}
	var wg sync.WaitGroup
	var applyErr error
	wg.Go(func() {
		defer t.end(applying)
		applyErr = s.s.Apply(context.Background())
	})
	st, err = s.s.Stage(context.Background(), c)
	t.end(staging)
	wg.Wait()
	t.on = false
	if err == nil {
		err = applyErr
	}
	return st, err
}

// schedules returns orders that between them visit every pair (operations of
// the apply done, operations of the stage done): first n of one side, then all
// of the other, then the rest.
func schedules(most int) []func([2]int) int {
	var all []func([2]int) int
	for side := range 2 {
		for n := range most {
			all = append(all, func(done [2]int) int {
				if done[side] < n {
					return side
				}
				return 1 - side
			})
		}
	}
	return all
}
