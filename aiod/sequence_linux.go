package aiod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

func (f *nativeFile) cloneFrom(ctx context.Context, src handle) error {
	from, ok := src.(*nativeFile)
	if !ok || from.n != f.n {
		return fmt.Errorf("source of another client: %w", fs.ErrInvalid)
	}
	return f.clone(ctx, from)
}

func (f *nativeFile) descriptor() *os.File { return f.fd }

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

// submit lays the steps out in one block, what they write in another, and
// publishes one request for all.
func (n *native) submit(ctx context.Context, s *Sequence) (*Pending, error) {
	sizes := [2]int{len(s.steps) * submissionSize, s.payload}
	if sizes[0] > nativeMaxBlock || sizes[1] > nativeMaxBlock {
		return nil, fmt.Errorf("%w: %d steps that write %d bytes", ErrTooLarge, len(s.steps), s.payload)
	}
	l, err := n.live()
	if err != nil {
		return nil, err
	}
	at, err := l.arena.alloc(ctx, sizes[0], sizes[1])
	if err != nil {
		return nil, err
	}
	free := func() { l.arena.release(sizes, at) }
	if err := n.layOut(l, s, at); err != nil {
		free()
		return nil, err
	}
	p, err := l.submit(ctx, s, Submission{Op: uint32(nativeSequence), Buf: at[0], Len: uint64(sizes[0])}, free)
	if err != nil {
		free()
	}
	return p, err
}

// submit publishes the request. free is called when the daemon is done with
// its memory, unless there is an error.
func (l *life) submit(ctx context.Context, s *Sequence, sub Submission, free func()) (*Pending, error) {
	p := &Pending{done: make(chan struct{})}
	p.marked = p.done
	replies := 1
	if s.marked {
		replies++
	}
	if err := l.link.credits.take(ctx, replies); err != nil {
		return nil, err
	}
	ids := []uint64{l.ring.put(sub)}
	giveBack := func() {
		l.ring.drop(ids)
		l.link.credits.give(replies)
	}
	if s.marked {
		id := l.ring.put(Submission{})
		ids = append(ids, id)
		l.setMark(s, sub.Buf, id)
		w, err := l.link.expect(id)
		if err != nil {
			giveBack()
			return nil, err
		}
		p.marked = make(chan struct{})
		go func() {
			l.link.wait(context.Background(), w, false)
			_, p.markErr = l.outcome(w, id)
			close(p.marked)
		}()
	}
	w, lead, err := l.link.begin(ids[:1], nil, true)
	if err != nil {
		if s.marked {
			l.link.expected(ids[1])
			<-p.marked
		}
		giveBack()
		return nil, err
	}
	go func() {
		l.link.wait(context.Background(), w, lead)
		p.count, p.err = l.outcome(w, ids[0])
		if s.marked {
			l.link.expected(ids[1])
			<-p.marked
		}
		s.remember(p)
		giveBack()
		free()
		close(p.done)
	}()
	return p, nil
}

// outcome is that of a request whose waiter was told. If the daemon has not
// answered, it is gone, and writes nothing any more.
func (l *life) outcome(w *waiter, id uint64) (int, error) {
	if w.err != nil {
		<-l.link.reaped
		return 0, w.err
	}
	c := l.ring.outcome(id)
	return int(c.result), c.err()
}

func (n *native) layOut(l *life, s *Sequence, at [2]uint64) error {
	data := l.view.Bytes()[dataAt:]
	payload := at[1]
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
		st.sub.encode(data[at[0]+uint64(i*submissionSize):])
	}
	return nil
}

// setMark writes into the sequence laid out at buf what its mark completes.
func (l *life) setMark(s *Sequence, buf, id uint64) {
	for i, st := range s.steps {
		if st.sub.op() == nativeMark {
			st.sub.ID = id
			st.sub.encode(l.view.Bytes()[dataAt+buf+uint64(i*submissionSize):])
		}
	}
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
