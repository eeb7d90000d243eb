package vmbusring

import "sync"

// Requests remembers what was sent with a transaction id until its completion
// comes. A completion is only a claim of the peer: an id that is not
// outstanding, or was completed before, is refused. Ids are sequential numbers
// and tell the peer nothing; never use a pointer.
//
// The zero value is ready, without a limit. Safe for concurrent use.
type Requests[T any] struct {
	// Limit bounds how many may be outstanding; 0 means no bound.
	Limit int

	mu          sync.Mutex
	last        uint64
	outstanding map[uint64]T
}

// Begin remembers v and returns the transaction id to send with its packet, or
// ErrFull if Limit are outstanding.
func (r *Requests[T]) Begin(v T) (id uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Limit > 0 && len(r.outstanding) >= r.Limit {
		return 0, ErrFull
	}
	if r.outstanding == nil {
		r.outstanding = make(map[uint64]T)
	}
	r.last++
	r.outstanding[r.last] = v
	return r.last, nil
}

// Complete returns what Begin remembered for the packet's id, once. Any other
// packet than the completion of an outstanding one is a *CorruptError.
func (r *Requests[T]) Complete(p *Packet) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.outstanding[p.TransactionID]
	if !ok || p.Type != Completion {
		var none T
		return none, &CorruptError{Code: CodeTransaction, At: p.At, What: "transaction id", Got: p.TransactionID, Want: "a completion of an outstanding request"}
	}
	delete(r.outstanding, p.TransactionID)
	return v, nil
}

// Len returns how many are outstanding.
func (r *Requests[T]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.outstanding)
}
