package aiod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

func (f *nativeFile) cloneFrom(ctx context.Context, src handle) error {
	from, ok := src.(*nativeFile)
	if !ok || from.n != f.n {
		return fmt.Errorf("source of another client: %w", fs.ErrInvalid)
	}
	return f.clone(ctx, from)
}

func (f *nativeFile) descriptor() uintptr { return f.fd.Fd() }

// handleIn is the number of a sequence's file in life l.
func (n *native) handleIn(l *life, f *File) (uint64, error) {
	if f == nil {
		return 0, nil
	}
	own, ok := f.h.(*nativeFile)
	if !ok || own.n != n {
		return 0, pathError("sequence", f.name, fmt.Errorf("file of another client: %w", fs.ErrInvalid))
	}
	return own.adopted(l)
}

// submit lays the steps and what they write out in one block and publishes one
// request for all.
func (n *native) submit(ctx context.Context, s *Sequence) (*Pending, error) {
	size := len(s.steps)*submissionSize + s.payload
	if size > nativeMaxBlock {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrTooLarge, size, nativeMaxBlock)
	}
	l, err := n.live()
	if err != nil {
		return nil, err
	}
	sizes := [2]int{size, 0}
	at, err := l.arena.alloc(ctx, size, 0)
	if err != nil {
		return nil, err
	}
	free := func() { l.arena.release(sizes, at) }
	if err := n.layOut(l, s, at[0]); err != nil {
		free()
		return nil, err
	}
	if err := l.link.credits.take(ctx, 1); err != nil {
		free()
		return nil, err
	}
	ids := []uint64{l.ring.put(Submission{Op: uint32(nativeSequence), Buf: at[0], Len: uint64(len(s.steps) * submissionSize)})}
	w, lead, err := l.link.begin(ids, nil, true)
	p := &Pending{done: make(chan struct{}), err: err}
	finish := func() {
		l.ring.drop(ids)
		l.link.credits.give(1)
		free()
	}
	if err != nil {
		finish()
		return nil, err
	}
	go func() {
		l.link.wait(context.Background(), w, lead)
		if p.err = w.err; p.err == nil {
			c := l.ring.outcome(ids[0])
			p.count, p.err = int(c.result), c.err()
		}
		s.remember(p)
		finish()
		close(p.done)
	}()
	return p, nil
}

func (n *native) layOut(l *life, s *Sequence, at uint64) error {
	data := l.view.Bytes()[dataAt:]
	payload := at + uint64(len(s.steps)*submissionSize)
	for i, st := range s.steps {
		var err error
		if st.sub.Handle, err = n.handleIn(l, st.dst); err != nil {
			return err
		}
		if st.src != nil {
			if st.sub.Buf, err = n.handleIn(l, st.src); err != nil {
				return err
			}
		}
		if st.data != nil {
			st.sub.Buf = payload
			payload += uint64(copy(data[payload:], st.data))
		}
		st.sub.encode(data[at+uint64(i*submissionSize):])
	}
	return nil
}

// remember makes the failure of a sync final. After the daemon's death nobody
// knows which of them failed.
func (s *Sequence) remember(p *Pending) {
	if p.err == nil {
		return
	}
	died := errors.Is(p.err, ErrDied)
	for i := range s.steps {
		st := &s.steps[i]
		isSync := st.sub.op() == nativeSync || st.sub.op() == nativeSyncData
		if isSync && (died || i == p.count) {
			err := pathError("sync", st.dst.name, p.err)
			st.dst.state.syncErr.CompareAndSwap(nil, &err)
		}
	}
}
