package aiod

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
)

// maxInFlight bounds the requests that a daemon has not answered. Their
// messages and replies fit into pipe and socket (278 replies, spec section 2),
// so neither side ever blocks on the other.
const maxInFlight = 256

// crowdLasts is after how many reads of replies the crowd is counted again.
const crowdLasts = 64

// link is one life of one daemon: a process and the channels to it.
//
// There is no goroutine that reads replies. One of the callers that wait
// leads: it reads for all of them until its own requests are answered, then
// another takes over. So a lone request costs no switch of goroutines, and
// whoever asks while a leader is awake leaves the sending to it, which makes
// one write of many requests.
type link struct {
	cmd     *exec.Cmd
	ch      channel
	reaped  chan struct{} // closed when the process is gone
	credits credits
	buf     [maxInFlight + 1]uint64 // the leader's

	mu       sync.Mutex
	inflight map[uint64]*waiter // by request
	out      []uint64           // requests not yet sent
	crowd    int                // most requests in flight of late
	received uint               // times
	leading  bool
	blocked  bool // the leader is asleep, or about to be
	err      error
	exited   bool // the process is gone
}

// channel carries requests to a daemon and its replies back, both by a number
// that names the request.
type channel interface {
	// send does not block as long as at most maxInFlight requests, and one
	// more, are unanswered.
	send(requests []uint64) error
	// receive waits for replies. Only the leader calls it.
	receive(replies []uint64) (int, error)
	// finish tells the daemon that nothing more comes, and wakes receive.
	finish()
	// close comes after the last use of the others.
	close()
}

func newLink(ch channel) *link {
	l := &link{ch: ch, reaped: make(chan struct{}), inflight: make(map[uint64]*waiter)}
	l.credits.left = maxInFlight
	return l
}

// waiter is a caller with requests in flight. Its fields are the link's to
// lock.
type waiter struct {
	wake    chan struct{}
	pending int
	lead    bool // the lead was passed to this one
	gone    bool // the caller has given up
	err     error
	late    latecomer // told once if gone, when the last reply is in or missing
}

// latecomer takes the outcome of requests whose caller has given up.
type latecomer interface{ answered(err error) }

var waiters = sync.Pool{New: func() any { return &waiter{wake: make(chan struct{}, 1)} }}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// roundtrip sends the requests and waits for all replies; the error is the
// link's. If ctx ends before, it returns gone, the requests' memory stays in
// use, and late gets the outcome when it is known.
func (l *link) roundtrip(ctx context.Context, requests []uint64, late latecomer) (gone bool, err error) {
	w, lead, err := l.begin(requests, late, false)
	if err != nil {
		return false, err
	}
	gone, alone := l.wait(ctx, w, lead)
	if gone {
		return true, ctx.Err()
	}
	err = w.err
	if alone {
		select { // a signal may be left over from having led
		case <-w.wake:
		default:
		}
		waiters.Put(w)
	}
	return false, err
}

// begin sends the requests, at once if now, and says whether the caller leads.
func (l *link) begin(requests []uint64, late latecomer, now bool) (w *waiter, lead bool, err error) {
	w = waiters.Get().(*waiter)
	*w = waiter{wake: w.wake, pending: len(requests), late: late}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return w, false, l.err
	}
	for _, r := range requests {
		l.inflight[r] = w
	}
	l.out = append(l.out, requests...)
	l.crowd = max(l.crowd, len(l.inflight))
	lead = !l.leading
	l.leading = true
	if now || l.blocked {
		l.flush()
	}
	return w, lead, nil
}

// expect prepares for a reply to id that another request will bring about.
func (l *link) expect(id uint64) (*waiter, error) {
	w := &waiter{wake: make(chan struct{}, 1), pending: 1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	l.inflight[id] = w
	return w, nil
}

// expected ends the time in which the reply to id may come.
func (l *link) expected(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.inflight[id]
	if w == nil {
		return
	}
	if l.err == nil {
		l.fail(fmt.Errorf("%w: no reply to %d", ErrProtocol, id))
		return
	}
	delete(l.inflight, id)
	w.err = l.err
	l.settle(w)
}

// wait returns when w has its outcome, or with gone if ctx ended before. alone
// says that nobody else knows w any more.
func (l *link) wait(ctx context.Context, w *waiter, lead bool) (gone, alone bool) {
	alone = true
	for {
		if lead {
			if ctx.Done() == nil {
				l.lead(w)
				return false, alone
			}
			go l.lead(w) // a leader is asleep in a system call, deaf to ctx
			alone = false
		}
		select {
		case <-w.wake:
			l.mu.Lock()
			lead, w.lead = w.lead, false
			answered := w.pending == 0
			l.mu.Unlock()
			if answered {
				return false, alone
			}
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			if w.pending == 0 {
				return false, false
			}
			w.gone = true
			if w.lead {
				w.lead = false
				go l.lead(w)
			}
			return true, false
		}
	}
}

// lead reads replies for everybody until w's are in.
func (l *link) lead(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w.pending > 0 {
		if l.crowd > w.pending {
			// Others run now, and what they ask goes out in the same write.
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
		}
		l.flush()
		if l.err != nil {
			l.fail(l.err)
			break
		}
		l.blocked = true
		l.mu.Unlock()
		n, err := l.ch.receive(l.buf[:])
		l.mu.Lock()
		l.blocked = false
		if l.received++; l.received%crowdLasts == 0 {
			l.crowd = len(l.inflight)
		}
		l.dispatch(l.buf[:n])
		if err != nil {
			l.fail(err)
		}
	}
	l.leading = false
	l.closeIfDone()
	for _, next := range l.inflight {
		l.flush()
		l.leading = true
		if next.gone {
			go l.lead(next)
		} else {
			next.lead = true
			next.signal()
		}
		break
	}
}

// dispatch tells callers of replies.
func (l *link) dispatch(replies []uint64) {
	for _, r := range replies {
		w := l.inflight[r]
		if w == nil {
			l.fail(fmt.Errorf("%w: reply to request %d, which nobody made", ErrProtocol, r))
			return
		}
		delete(l.inflight, r)
		l.settle(w)
	}
}

// settle takes one reply, or the lack of one, off w.
func (l *link) settle(w *waiter) {
	w.pending--
	if w.pending > 0 {
		return
	}
	if !w.gone {
		w.signal()
	} else if w.late != nil {
		go w.late.answered(w.err)
	}
}

// flush sends what is waiting.
func (l *link) flush() {
	if len(l.out) > 0 && l.err == nil {
		if err := l.ch.send(l.out); err != nil {
			l.fail(fmt.Errorf("%w: send requests: %w", ErrDied, err))
		}
	}
	l.out = l.out[:0]
}

// fail ends this life of the daemon: everything in flight fails, and so does
// all that comes.
func (l *link) fail(err error) {
	if l.err == nil {
		l.err = err
		l.cmd.Process.Kill()
	}
	for off, w := range l.inflight {
		delete(l.inflight, off)
		w.err = l.err
		l.settle(w)
	}
}

// shut ends the link from outside. The daemon finishes what it was asked.
func (l *link) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = ErrClosed
	}
	l.ch.finish()
}

// reap waits for the process to end and fails what nobody will answer.
func (l *link) reap() {
	l.cmd.Wait() // how it ended does not matter: the link is dead either way
	close(l.reaped)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail(ErrDied)
	l.ch.finish()
	l.exited = true
	l.closeIfDone()
}

// closeIfDone closes the channel when neither the process nor a leader uses it
// any more.
func (l *link) closeIfDone() {
	if l.exited && !l.leading {
		l.ch.close()
	}
}

// dead reports whether the link has failed.
func (l *link) dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}
