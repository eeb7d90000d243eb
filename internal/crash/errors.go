package crash

import (
	"errors"
	"fmt"
	"syscall"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
)

// stubborn is what an engine does that lives on after an error: a stage is
// tried again, an apply too, a store in doubt is given up (R4).
func stubborn(p protocol, changes ...change) act {
	return func(fsys vfs.FS, l *ledger) error {
		s, err := p.open(fsys)
		if err != nil {
			return nil // the next open decides
		}
		g, f := judge(s, p.pageSize(), l)
		if f != nil {
			return errors.Join(f, s.close())
		}
		l.restarted(g)
		for _, ch := range changes {
			before := l.clone()
			err := s.checkpoint(l, ch)
			for tries := 0; err != nil && tries < 2; tries++ {
				if l.acked == before.acked && !inDoubt(err) { // nothing happened: once more
					l.states, l.begun = before.states, before.begun
					err = s.checkpoint(l, ch)
				} else if own, ok := s.(*loomSession); ok && l.acked > before.acked {
					err = own.apply()
				}
			}
			if err != nil {
				break
			}
		}
		_ = s.close()
		return nil
	}
}

// failing explores the power cuts of a process that lives on after its nth
// operation of a kind has failed with EIO. more is false behind the last.
func failing(x *explorer, m *memfs.FS, l *ledger, changes []change, n int, kind vfs.Kind, workers int) (more bool, err error) {
	nth := &errorfs.Nth{N: n, Fault: errorfs.Fault{Err: syscall.EIO, Partial: n%2 == 1}, Match: func(op errorfs.Op) bool { return op.Kind == kind }}
	a := func(fsys vfs.FS, l *ledger) error { return stubborn(x.proto, changes...)(errorfs.New(fsys, nth), l) }
	err = x.explore(fmt.Sprintf("%s %d fails", kind, n), m.Clone(), l.clone(), a, workers)
	return nth.Injected() > 0, err
}

// everyError is failing for every operation that changes something, until
// there is a violation.
func everyError(x *explorer, m *memfs.FS, l *ledger, changes []change, workers int) error {
	for _, kind := range []vfs.Kind{vfs.Sync, vfs.Write, vfs.Truncate, vfs.Allocate, vfs.Renew} {
		for n := 0; !x.failed(); n++ {
			more, err := failing(x, m, l, changes, n, kind, workers)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

func inDoubt(err error) bool { return errors.Is(err, image.ErrInDoubt) }

// transient lets each operation of an Open that only reads fail once with EIO,
// and returns what the Open after it found wrong. An error is not absence, which
// is how vere takes it (W9): if strict, the first Open must name it.
func transient(p protocol, m *memfs.FS, l *ledger, strict bool) (found []*finding) {
	for n := 0; ; n++ {
		left := m.Clone()
		nth := &errorfs.Nth{N: n, Fault: errorfs.Fault{Err: syscall.EIO}, Match: func(op errorfs.Op) bool {
			return op.Kind == vfs.Open || op.Kind.OnlyReads()
		}}
		s, err := p.open(errorfs.New(left, nth))
		if err == nil {
			err = s.close()
		}
		if nth.Injected() == 0 {
			return found
		}
		if strict && !errors.Is(err, syscall.EIO) {
			found = append(found, silent(n, err))
		}
		s, _, f := recovered(p, left, l)
		if f != nil {
			found = append(found, f)
			continue
		}
		_ = s.close()
	}
}

func silent(n int, err error) *finding {
	return bad(unavailable, "reading operation %d failed, and Open said: %v", n, err)
}
