package command

import (
	"context"
	"errors"

	cerrors "github.com/cockroachdb/errors"

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
	{loom.ErrDamaged, ExitDamaged},
	{loom.ErrOptions, ExitUsage},
}

// classify returns the exit code and the hint that err deserves.
func classify(err error) (code int, hint string) {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code, e.hint
	}
	hint = cerrors.FlattenHints(err)
	for _, c := range exitCodes {
		if errors.Is(err, c.class) {
			return c.code, hint
		}
	}
	return ExitFailure, hint
}
