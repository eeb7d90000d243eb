package quickjs

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"loomstore/wasm"
)

// Flags of qjs_eval.
const (
	evalBacktraceBarrier = 1 << 6
	evalAsync            = 1 << 7 // top-level await; the result is a promise
)

// State says how far an input has come.
type State string

const (
	Done    State = "done"    // Text is its value on one line
	Failed  State = "failed"  // Text is what it threw
	Pending State = "pending" // it awaits something that no job will bring
)

// Outcome is how an input ended.
type Outcome struct {
	State  State    `json:"state"`
	Text   string   `json:"text"`
	Errors []string `json:"errors"` // unhandled rejections, what was thrown
}

// Begin evaluates source as a script with top-level await, up to its first
// await; Drain runs the rest, Outcome ends it. id names the input to
// Unfinished. An error of the compiler is a *ScriptError, and the input does not begin.
func (vm *VM) Begin(ctx context.Context, source, file, id string) error {
	promise, err := vm.eval(ctx, source, file, evalAsync|evalBacktraceBarrier)
	if err != nil {
		return err
	}
	name, err := vm.newString(ctx, id)
	if err != nil {
		return err
	}
	if err := vm.bridgeCall(ctx, nil, "track", name, promise); err != nil {
		return err
	}
	return vm.free(ctx, name, promise)
}

// Unfinished returns the id of the input that has begun and has not ended, ""
// if there is none. After Open that is the input in whose middle the last
// checkpoint was taken.
func (vm *VM) Unfinished(ctx context.Context) (id string, err error) {
	err = vm.bridgeCall(ctx, &id, "unfinished")
	return id, err
}

// Step runs one pending job, and reports whether there was one. What a job
// throws is a *ScriptError.
func (vm *VM) Step(ctx context.Context) (bool, error) {
	pending, err := vm.call(ctx, "qjs_is_job_pending")
	if err != nil || pending == 0 {
		return false, err
	}
	status, err := vm.call(ctx, "qjs_execute_pending_job")
	if err != nil || int32(status) >= 0 {
		return true, err
	}
	return true, vm.exception(ctx)
}

// Requested reports whether a script awaits a checkpoint: take one, then call
// Settle.
func (vm *VM) Requested() bool { return vm.requested }

// Settle answers every checkpoint() so far: with the epoch, or by throwing
// failure.
func (vm *VM) Settle(ctx context.Context, failure error) error {
	vm.requested = false
	message := ""
	if failure != nil {
		message = failure.Error()
	}
	number, err := vm.newNumber(ctx, float64(vm.loom.Epoch()))
	if err != nil {
		return err
	}
	text, err := vm.newString(ctx, message)
	if err != nil {
		return err
	}
	if err := vm.bridgeCall(ctx, nil, "settle", number, text); err != nil {
		return err
	}
	return vm.free(ctx, number, text)
}

// Outcome ends the input and returns what became of it.
func (vm *VM) Outcome(ctx context.Context) (*Outcome, error) {
	var text string
	if err := vm.bridgeCall(ctx, &text, "outcome"); err != nil {
		return nil, err
	}
	var o Outcome
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, fmt.Errorf("quickjs: outcome %s: %w", strconv.Quote(text), err)
	}
	return &o, nil
}

// eval evaluates source. What it throws is a *ScriptError.
func (vm *VM) eval(ctx context.Context, source, file string, flags uint64) (v value, err error) {
	err = vm.withBytes(ctx, source, func(code uint32) error {
		return vm.withBytes(ctx, file, func(name uint32) error {
			v, err = vm.call(ctx, "qjs_eval", uint64(code), uint64(len(source)), uint64(name), flags)
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	return vm.check(ctx, v)
}

// apply calls f, and does not free its arguments.
func (vm *VM) apply(ctx context.Context, f value, args ...value) (v value, err error) {
	list := make([]byte, 4*len(args))
	for i, a := range args {
		binary.LittleEndian.PutUint32(list[4*i:], uint32(a))
	}
	undefined, err := vm.call(ctx, "qjs_get_undefined")
	if err != nil {
		return 0, err
	}
	err = vm.withBytes(ctx, string(list), func(argv uint32) error {
		v, err = vm.call(ctx, "qjs_call", uint64(f), uint64(undefined), uint64(len(args)), uint64(argv))
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := vm.free(ctx, undefined); err != nil {
		return 0, err
	}
	return vm.check(ctx, v)
}

// bridgeCall calls a method of prelude.js's bridge and stores the text of its
// result, unless result is nil.
func (vm *VM) bridgeCall(ctx context.Context, result *string, method string, args ...value) error {
	op, err := vm.newString(ctx, method)
	if err != nil {
		return err
	}
	v, err := vm.apply(ctx, vm.bridge, append([]value{op}, args...)...)
	if err != nil {
		return fmt.Errorf("quickjs: bridge %s: %w", method, err)
	}
	if result != nil {
		if *result, err = vm.text(ctx, v); err != nil {
			return err
		}
	}
	return vm.free(ctx, op, v)
}

// check returns v, or the *ScriptError if v says that something was thrown.
func (vm *VM) check(ctx context.Context, v value) (value, error) {
	thrown, err := vm.call(ctx, "qjs_is_exception", uint64(v))
	if err != nil {
		return 0, err
	}
	if thrown == 0 {
		return v, nil
	}
	if err := vm.free(ctx, v); err != nil {
		return 0, err
	}
	return 0, vm.exception(ctx)
}

// exception takes the exception that is pending.
func (vm *VM) exception(ctx context.Context) error {
	e, err := vm.call(ctx, "qjs_get_exception")
	if err != nil {
		return err
	}
	text, err := vm.describe(ctx, e)
	if err != nil {
		return err
	}
	if err := vm.free(ctx, e); err != nil {
		return err
	}
	return &ScriptError{Text: text}
}

// describe returns what stderr shows for a thrown value. Showing it can throw
// as well, out of memory above all; that is not shown in turn.
func (vm *VM) describe(ctx context.Context, e value) (text string, err error) {
	if vm.bridge != 0 && !vm.describing {
		vm.describing = true
		err = vm.bridgeCall(ctx, &text, "describe", e)
		vm.describing = false
		if err == nil || errors.Is(err, wasm.ErrTrapped) {
			return text, err
		}
	}
	if text, err = vm.text(ctx, e); errors.Is(err, errNoMemory) {
		return errNoMemory.Error(), nil
	}
	return text, err
}
