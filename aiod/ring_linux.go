package aiod

import (
	"sync"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// ringChannel is the client's end of the native mode's rings. A request is
// named by its id, whose low bits are the slot that it is kept in.
type ringChannel struct {
	view *mapping.View
	// submissions and completions are private, by slot: a request is put into
	// its slot before it is sent, its outcome is found there after receive.
	submissions [ringEntries]Submission
	completions [ringEntries]completion
	tail        uint32 // submissions published
	head        uint32 // completions consumed
	spin        spinner
	ended       atomic.Bool
	hangUp      func() // shuts the control socket

	mu    sync.Mutex
	slots []uint64 // free ids; credits keep it from running out
}

func newRing(view *mapping.View, hangUp func()) *ringChannel {
	r := &ringChannel{view: view, hangUp: hangUp}
	for i := range uint64(ringEntries) {
		r.slots = append(r.slots, i)
	}
	return r
}

// put keeps a submission under a new id until drop.
func (r *ringChannel) put(s Submission) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.slots[len(r.slots)-1]
	r.slots = r.slots[:len(r.slots)-1]
	s.ID = id
	r.submissions[id%ringEntries] = s
	return id
}

// drop ends ids. The slots come back with others, as sequence numbers go on.
func (r *ringChannel) drop(ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.slots = append(r.slots, id+ringEntries)
	}
}

func (r *ringChannel) outcome(id uint64) completion { return r.completions[id%ringEntries] }

// finish wakes the leader; the server sees the socket's end.
func (r *ringChannel) finish() {
	r.hangUp()
	r.end()
}

func (r *ringChannel) end() {
	r.ended.Store(true)
	r.view.Uint32(wordCQBell).Add(1)
	r.view.FutexWake(wordCQBell, 1)
}

func (r *ringChannel) close() {}

func (r *ringChannel) send(requests []uint64) error {
	mem := r.view.Bytes()
	for _, id := range requests {
		r.submissions[id%ringEntries].encode(mem[submissionsAt+int(r.tail%ringEntries)*submissionSize:])
		r.tail++
	}
	r.view.Uint32(wordSQTail).Store(r.tail)
	wake(r.view, wordSQAsleep, wordSQBell)
	return nil
}

func (r *ringChannel) receive(replies []uint64) (int, error) {
	tail, bell := r.view.Uint32(wordCQTail), r.view.Uint32(wordCQBell)
	if r.spin.wait(func() bool { return tail.Load() != r.head }) {
		return r.consume(replies)
	}
	for {
		// As in await: raise the word, then look a last time.
		seen := bell.Load()
		asleep := r.view.Uint32(wordCQAsleep)
		asleep.Store(1)
		if tail.Load() != r.head {
			asleep.Store(0)
			return r.consume(replies)
		}
		if r.ended.Load() {
			return 0, ErrDied
		}
		r.view.FutexWait(wordCQBell, seen, 0)
	}
}

// consume copies what has been completed since the last time.
func (r *ringChannel) consume(replies []uint64) (int, error) {
	n := r.view.Uint32(wordCQTail).Load() - r.head
	if n > ringEntries {
		return 0, ErrProtocol
	}
	mem := r.view.Bytes()
	n = min(n, uint32(len(replies)))
	r.mu.Lock() // orders this behind the slots' last use, which drop ended
	defer r.mu.Unlock()
	for i := range n {
		var b [completionSize]byte
		copy(b[:], mem[completionsAt+int(r.head%ringEntries)*completionSize:])
		c := decodeCompletion(&b)
		r.completions[c.id%ringEntries] = c
		replies[i] = c.id
		r.head++
	}
	return int(n), nil
}
