package wasm

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

var (
	// ErrUnsupported: a checkpoint could not hold all of the module's state.
	ErrUnsupported = errors.New("wasm: module can not be saved faithfully")
	// ErrRecord: the store's application record is not one of this package, or
	// contradicts the module or the arena.
	ErrRecord = errors.New("wasm: application record is not usable")
	// ErrMismatch: the store belongs to another module. *ModuleError has both.
	ErrMismatch = errors.New("wasm: store holds the memory of another module")
	// ErrCompile: the module is invalid, or its compiled form in the cache is.
	ErrCompile = errors.New("wasm: compile module")
	// ErrTrapped: a call ended in a trap, so the memory is in the middle of
	// something; only Rollback and Close are left.
	ErrTrapped = errors.New("wasm: a trap left the memory undefined")
	// ErrBusy: a checkpoint was asked for from inside a call.
	ErrBusy = errors.New("wasm: a guest call is on the stack")
)

// ModuleError is ErrMismatch with the two modules.
type ModuleError struct {
	Stored, Given [sha256.Size]byte // SHA-256 of the binaries
}

func (e *ModuleError) Error() string {
	return fmt.Sprintf("%v: stored %x, given %x", ErrMismatch, e.Stored, e.Given)
}

// Unwrap returns ErrMismatch.
func (e *ModuleError) Unwrap() error { return ErrMismatch }
