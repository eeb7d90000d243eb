package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"

	"loomstore/internal/vfs"
)

// outcome is what became of a store.
type outcome int

const (
	whole       outcome = iota
	torn                // it equals no state that was begun, or can not be read
	lost                // it equals a state older than the acknowledged one
	unavailable         // it does not open
	saveFails           // its next checkpoint, close or opening fails
	unmountable         // the file system under it is gone
	outcomes
)

func (o outcome) String() string {
	return [...]string{"whole", "torn", "lost", "unavailable", "savefail", "unmountable"}[o]
}

// finding is a violation.
type finding struct {
	what outcome
	err  error
}

func (f *finding) Error() string { return f.what.String() + ": " + f.err.Error() }

func bad(what outcome, format string, args ...any) *finding {
	return &finding{what, fmt.Errorf(format, args...)}
}

// judge compares an open store with what it may hold, and returns the epoch it
// holds.
func judge(s store, l *ledger) (uint64, *finding) {
	if known, ok := s.epoch(); ok {
		want, ok := l.at(known)
		switch {
		case known < l.Acked:
			return 0, bad(lost, "epoch %d, but %d was acknowledged", known, l.Acked)
		case !ok:
			return 0, bad(torn, "epoch %d, but only %d was begun", known, l.Begun)
		}
		if err := compare(s, want); err != nil {
			return 0, bad(torn, "epoch %d: %w", known, err)
		}
		return known, nil
	}
	var first error
	for i := len(l.States) - 1; i >= 0; i-- {
		g := l.First + uint64(i)
		err := compare(s, l.States[i])
		switch {
		case err == nil && g < l.Acked:
			return 0, bad(lost, "epoch %d, but %d was acknowledged", g, l.Acked)
		case err == nil:
			return g, nil
		case first == nil:
			first = err
		}
	}
	return 0, bad(torn, "equals no epoch from %d to %d: %w", l.First, l.Begun, first)
}

// compare reads every page.
func compare(s store, want []uint64) error {
	if got := s.pages(); got != len(want) {
		return fmt.Errorf("%d pages, want %d", got, len(want))
	}
	got, expect := make([]byte, pageSize), make([]byte, pageSize)
	for p, key := range want {
		if err := s.read(p, got); err != nil {
			return err
		}
		fill(expect, key, p)
		if !bytes.Equal(got, expect) {
			return fmt.Errorf("page %d holds something else than attempt %#x", p, key)
		}
	}
	return nil
}

// take makes the next checkpoint and enters it in the ledger through note.
func take(s store, l *ledger, ch change, note func(mark) error) error {
	if err := note(mark{Kind: "begin", Change: ch}); err != nil {
		return err
	}
	if err := s.commit(ch, l.page); err != nil {
		return err
	}
	return note(mark{Kind: "ack"})
}

// page fills a page as the attempt begun last does.
func (l *ledger) page(n int, dst []byte) { fill(dst, l.key(), n) }

// examine opens what a power cut left, judges it, and takes it through a
// checkpoint, a close and a quiet opening (R8).
func examine(d driver, dir string, l *ledger) *finding {
	rng := rand.New(rand.NewPCG(l.Begun, l.Acked))
	for round := range 2 {
		s, err := d.open(dir, vfs.OS)
		if err != nil && round == 0 {
			return bad(unavailable, "%w", err)
		}
		if err != nil {
			return bad(saveFails, "opened once more: %w", err)
		}
		g, f := judge(s, l)
		if f != nil {
			_ = s.close()
			return f
		}
		if round == 1 {
			if !s.quiet() {
				return bad(saveFails, "opening a closed store had work to do: %v", s.close())
			}
			if err := s.close(); err != nil {
				return bad(saveFails, "closed once more: %w", err)
			}
			break
		}
		l.apply(mark{Kind: "open", Epoch: g})
		enter := func(m mark) error { l.apply(m); return nil }
		if err := take(s, l, randomChange(rng, s.pages(), d), enter); err != nil {
			return bad(saveFails, "next checkpoint: %w", errors.Join(err, s.close()))
		}
		if err := s.close(); err != nil {
			return bad(saveFails, "close: %w", err)
		}
	}
	return nil
}
