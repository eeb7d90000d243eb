package crash

import (
	"bytes"
	"errors"
	"fmt"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// outcome is what became of a store.
type outcome int

// The outcomes. All but whole are violations.
const (
	whole       outcome = iota
	torn                // the image equals no state, or a page can not be read
	lost                // it equals a state older than the acknowledged one
	unavailable         // it does not open
	saveFails           // the next checkpoint, close or reopening fails
	outcomes
)

func (o outcome) String() string {
	return [...]string{"whole", "torn", "lost", "unavailable", "savefail"}[o]
}

// finding is a violation found by looking at a store.
type finding struct {
	what outcome
	err  error
}

// isDefect reports whether an error names a damaged file.
func isDefect(err error) bool {
	var d *patch.Defect
	return errors.As(err, &d)
}

func (f *finding) Error() string { return f.what.String() + ": " + f.err.Error() }

func bad(what outcome, format string, args ...any) *finding {
	return &finding{what, fmt.Errorf(format, args...)}
}

// judge compares an open store with what it may hold, and returns the epoch it
// holds.
func judge(s session, size int, l *ledger) (uint64, *finding) {
	if known, ok := s.epoch(); ok {
		if known < l.acked {
			return 0, bad(lost, "epoch %d, but %d was acknowledged", known, l.acked)
		}
		want, ok := l.at(known)
		if !ok {
			return 0, bad(torn, "epoch %d, but only %d was begun", known, l.begun)
		}
		if err := compare(s, size, want); err != nil {
			return 0, bad(torn, "epoch %d: %w", known, err)
		}
		if own, ok := s.(*loomSession); ok {
			if err := own.app(); err != nil {
				return 0, bad(torn, "%w", err)
			}
		}
		return known, nil
	}
	var first error
	for g := l.begun; ; g-- {
		want, ok := l.at(g)
		if !ok {
			return 0, bad(torn, "equals no epoch from 0 to %d: %w", l.begun, first)
		}
		err := compare(s, size, want)
		if err == nil && g < l.acked {
			return 0, bad(lost, "epoch %d, but %d was acknowledged", g, l.acked)
		}
		if err == nil {
			return g, nil
		}
		if first == nil {
			first = err
		}
		if g == 0 {
			return 0, bad(torn, "equals no epoch from 0 to %d: %w", l.begun, first)
		}
	}
}

// compare reads every page.
func compare(s session, size int, want content) error {
	if got := s.pages(); got != len(want) {
		return fmt.Errorf("%d pages, want %d", got, len(want))
	}
	got, expect := make([]byte, size), make([]byte, size)
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

// recovered opens what a crash left and judges it. The session is open if
// there is no finding.
func recovered(p protocol, fsys vfs.FS, l *ledger) (session, uint64, *finding) {
	s, err := p.open(fsys)
	if err != nil {
		return nil, 0, bad(unavailable, "%w", err)
	}
	g, f := judge(s, p.pageSize(), l)
	if f != nil {
		_ = s.close()
		return nil, 0, f
	}
	return s, g, nil
}

// nextChange is the checkpoint that a recovered store is given: it grows by
// two pages, of which the first stays a hole.
func nextChange(pages int) change {
	ch := change{pages: pages + 2, dirty: []int{pages + 1}}
	if pages > 0 {
		ch.dirty = []int{0, pages + 1}
	}
	return ch
}

// live takes a recovered store through a close and a quiet reopening, its next
// checkpoint, and both once more (R8).
func live(p protocol, s session, fsys *memfs.FS, l *ledger) *finding {
	for round := range 2 {
		if round == 1 {
			if err := s.checkpoint(l, nextChange(s.pages())); err != nil {
				return bad(saveFails, "next checkpoint: %w", errors.Join(err, s.close()))
			}
		}
		if err := s.close(); err != nil {
			return bad(saveFails, "close: %w", err)
		}
		again, g, f := recovered(p, fsys, l)
		if f != nil {
			return bad(saveFails, "opened once more: %w", f)
		}
		s = again
		if g != l.acked || !again.quiet() {
			_ = again.close()
			return bad(saveFails, "epoch %d, want %d; nothing to do: %v", g, l.acked, again.quiet())
		}
	}
	return closed(s)
}

func closed(s session) *finding {
	if err := s.close(); err != nil {
		return bad(saveFails, "close: %w", err)
	}
	return nil
}
