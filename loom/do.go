package loom

import (
	"errors"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// Do calls f and turns faults on the arena into errors: a *PageError that
// wraps guard.ErrExhausted where the free space between the watermarks is used
// up, or ErrPage where the image behind a page can not be read. Without Do such
// a fault ends the process. It covers the calling goroutine only. What f was
// doing is left in the middle: Rollback is the usual answer.
//
// Panics that are not faults on the arena go on as without Do.
func (l *Loom) Do(f func() error) error {
	return l.pageError(mapping.Guarded(l.region.Bytes(), f))
}

// pageError makes a *PageError of a fault on the arena, and leaves every other
// error as it is.
func (l *Loom) pageError(err error) error {
	fault, ok := errors.AsType[*mapping.FaultError](err)
	if !ok {
		return err
	}
	class := ErrPage
	if l.arena.Exhausted(fault.Offset) {
		class = guard.ErrExhausted
	}
	return &PageError{Page: fault.Offset / PageSize, Offset: fault.Offset, Err: class}
}
