package shmring

import "testing"

// The complete table of spec section 1: EBADF is ErrClosed, EBUSY ErrClosing.
func TestLifecycleTable(t *testing.T) {
	const (
		op0 = noOperation
		op1 = opClose
		op2 = opClosed
	)
	for _, tt := range []struct {
		current           state
		next              operation
		onClose, onClosed error
		usable            bool
	}{
		{opened, op0, nil, ErrClosed, true},
		{opened, op1, nil, ErrClosed, true},
		{closing, op0, nil, nil, false},
		{closing, op1, nil, ErrClosing, false},
		{closing, op2, nil, ErrClosing, false},
		{closed, op0, ErrClosed, ErrClosed, false},
	} {
		for _, try := range []struct {
			op    operation
			want  error
			after state // of a commit
		}{{opClose, tt.onClose, closing}, {opClosed, tt.onClosed, closed}} {
			at := func() *lifecycle {
				l := &lifecycle{next: tt.next}
				l.current.Store(uint32(tt.current))
				return l
			}
			l := at()
			if got := l.mayUse(); got != tt.usable {
				t.Errorf("state %d, next %d: may use = %v, want %v", tt.current, tt.next, got, tt.usable)
			}
			if got := l.prepare(try.op); got != try.want {
				t.Errorf("state %d, next %d: prepare(%d) = %v, want %v", tt.current, tt.next, try.op, got, try.want)
			}
			if try.want != nil {
				if l.next != tt.next {
					t.Errorf("state %d, next %d: refused prepare(%d) left next %d", tt.current, tt.next, try.op, l.next)
				}
				continue
			}
			if got := state(l.current.Load()); got != tt.current {
				t.Errorf("prepare moved state %d to %d", tt.current, got)
			}
			l.commit()
			if got := state(l.current.Load()); got != try.after || l.next != noOperation {
				t.Errorf("state %d: commit(%d) gave state %d, next %d", tt.current, try.op, got, l.next)
			}
			l = at()
			_ = l.prepare(try.op)
			l.abort()
			l.commit() // of nothing
			if got := state(l.current.Load()); got != tt.current || l.next != noOperation {
				t.Errorf("state %d: abort(%d), commit gave state %d, next %d", tt.current, try.op, got, l.next)
			}
		}
	}
}
