package wasm

import (
	"context"
	"errors"
	"fmt"

	"loomstore/loom"
)

// Checkpoint saves the module's whole state. No call may be on the stack: the
// locals of a running function live outside the memory.
//
// Errors: ErrBusy, ErrTrapped, and those of loom.Loom.Checkpoint. Durability: a
// nil error means that the state survives any crash from now on.
func (in *Instance) Checkpoint(ctx context.Context) (loom.Checkpoint, error) {
	if err := in.prepare(); err != nil {
		return loom.Checkpoint{}, err
	}
	return in.loom.Checkpoint(ctx)
}

// CheckpointAsync is Checkpoint that returns when the state is captured: the
// module may run on. It is durable when the Pending's Wait says so.
func (in *Instance) CheckpointAsync(ctx context.Context) (*loom.Pending, error) {
	if err := in.prepare(); err != nil {
		return nil, err
	}
	return in.loom.CheckpointAsync(ctx)
}

// prepare makes the record that goes with the memory as it is now.
func (in *Instance) prepare() error {
	if in.trap != nil {
		return in.trapped()
	}
	if in.depth > 0 {
		return ErrBusy
	}
	if in.stack != nil && in.stack.Get() != in.rest {
		return fmt.Errorf("%w: %s is %#x, at rest %#x", ErrBusy, stackPointer, in.stack.Get(), in.rest)
	}
	rec := record{module: in.sum, memory: uint64(in.module.Memory().Size()), host: in.host}
	for _, g := range in.globals {
		rec.globals = append(rec.globals, g.Get())
	}
	b, err := rec.MarshalBinary()
	if err != nil {
		return err
	}
	return in.loom.SetAppRecord(b)
}

// Rollback brings the module back to the last checkpoint, or to its beginning
// if there is none: after a trap, or to undo. It makes a new instance, because an
// instance's memory can not shrink back to the size it had.
func (in *Instance) Rollback(ctx context.Context) error {
	if in.depth > 0 {
		return ErrBusy
	}
	in.trap = errors.New("rollback did not finish")
	if err := in.module.Close(ctx); err != nil {
		return fmt.Errorf("close instance: %w", err)
	}
	if err := in.loom.Rollback(); err != nil {
		return fmt.Errorf("roll back arena: %w", err)
	}
	return in.build(ctx)
}

// abandon closes an instance that could not be brought to life for err.
func (in *Instance) abandon(ctx context.Context, err error) error {
	in.trap = err
	return errors.Join(err, in.module.Close(ctx))
}
