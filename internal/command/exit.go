package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"loomstore/internal/quickjs"
	"loomstore/loom"
	"loomstore/wasm"
)

// exitCodes gives each class of the engine's errors its exit code. The first
// that fits counts.
var exitCodes = []struct {
	class error
	code  int
}{
	{context.Canceled, ExitInterrupted},
	{loom.ErrNotStore, ExitNotStore},
	{loom.ErrLocked, ExitLocked},
	{loom.ErrMismatch, ExitMismatch},
	{wasm.ErrMismatch, ExitMismatch},
	{wasm.ErrRecord, ExitMismatch},
	{quickjs.ErrBridge, ExitMismatch},
	{loom.ErrNoSpace, ExitNoSpace},
	{syscall.ENOSPC, ExitNoSpace},
	{syscall.EDQUOT, ExitNoSpace},
	{loom.ErrDamaged, ExitDamaged},
	{loom.ErrOptions, ExitUsage},
}

// classify returns the exit code and the hint that err deserves.
func classify(err error) (code int, hint string) {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code, e.hint
	}
	hint = strings.Join(hints(err), "\n")
	for _, c := range exitCodes {
		if errors.Is(err, c.class) {
			return c.code, hint
		}
	}
	return ExitFailure, hint
}

// hints are the texts that cockroachdb/errors attached to err or to anything
// below it. Its own GetAllHints does not look into joined errors.
func hints(err error) []string {
	var found, below []string
	if h, ok := err.(interface{ ErrorHint() string }); ok {
		found = append(found, h.ErrorHint())
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if next := e.Unwrap(); next != nil {
			below = hints(next)
		}
	case interface{ Unwrap() []error }:
		for _, next := range e.Unwrap() {
			below = append(below, hints(next)...)
		}
	}
	for _, h := range below {
		if !slices.Contains(found, h) {
			found = append(found, h)
		}
	}
	return found
}

// codeName is the word for an exit code in JSON documents. Words and codes
// stay as they are.
func codeName(code int) string {
	switch code {
	case ExitOK:
		return "ok"
	case ExitDamaged:
		return "damaged"
	case ExitPending:
		return "pending"
	case ExitNotStore:
		return "not_a_store"
	case ExitLocked:
		return "locked"
	case ExitMismatch:
		return "mismatch"
	case ExitNoSpace:
		return "no_space"
	case ExitUsage:
		return "usage"
	case ExitInterrupted:
		return "interrupted"
	}
	return "failure"
}

// message is err's text for people. An interruption does not speak of contexts.
func message(code int, err error) string {
	if code == ExitInterrupted {
		if _, ok := errors.AsType[*exitError](err); !ok {
			return "interrupted"
		}
	}
	return fmt.Sprint(err)
}
