package quickjs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"loomstore/wasm"
)

// hostFunctions are the functions that prelude.js takes, in its order.
var hostFunctions = []string{"print", "epoch", "request", "promiseState", "promiseResult"}

// instantiateImports gives r what the engine imports.
func (vm *VM) instantiateImports(ctx context.Context, r wazero.Runtime) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return fmt.Errorf("instantiate wasi: %w", err)
	}
	env := r.NewHostModuleBuilder("env")
	for name, f := range map[string]any{
		"host_call":                vm.hostCall,
		"host_interrupt":           vm.hostInterrupt,
		"host_promise_rejection":   vm.hostPromiseRejection,
		"host_get_timezone_offset": timezoneOffset,
		// No module loader is set, so these two are never called.
		"host_module_normalize": func(uint32, uint32) uint32 { return 0 },
		"host_module_load":      func(uint32, uint32) uint32 { return 0 },
	} {
		env = env.NewFunctionBuilder().WithFunc(f).Export(name)
	}
	if _, err := env.Instantiate(ctx); err != nil {
		return fmt.Errorf("instantiate host functions: %w", err)
	}
	return nil
}

// hostCall is a call of a host function by the guest. It borrows the arguments
// and gives its result away. It panics, which makes the outer call fail, on
// what a sound engine never does.
func (vm *VM) hostCall(ctx context.Context, m api.Module, name, nameLen, _, argc, argv uint32) uint32 {
	op, ok := m.Memory().Read(name, nameLen)
	if !ok {
		panic("quickjs: name of a host function out of bounds")
	}
	arg := func(i uint32) value {
		v, ok := m.Memory().ReadUint32Le(argv + 4*i)
		if i >= argc || !ok {
			panic(fmt.Sprintf("quickjs: host function %s: no argument %d", op, i))
		}
		return value(v)
	}
	result, err := vm.dispatch(ctx, string(op), arg)
	if errors.Is(err, errNoMemory) {
		// 0 says that an exception is pending.
		_, err = vm.in.Call(ctx, "JS_ThrowOutOfMemory", vm.context)
	}
	if err != nil {
		panic(err)
	}
	return uint32(result)
}

func (vm *VM) dispatch(ctx context.Context, op string, arg func(uint32) value) (value, error) {
	switch op {
	case "print":
		stream, err := vm.number(ctx, arg(0))
		if err != nil {
			return 0, err
		}
		text, err := vm.text(ctx, arg(1))
		if err != nil {
			return 0, err
		}
		vm.config.Print(int(stream), text)
		return vm.call(ctx, "qjs_get_undefined")
	case "request":
		vm.requested = true
		return vm.call(ctx, "qjs_get_undefined")
	case "epoch":
		return vm.newNumber(ctx, float64(vm.loom.Epoch()))
	case "promiseState":
		state, err := vm.call(ctx, "qjs_promise_state", uint64(arg(0)))
		if err != nil {
			return 0, err
		}
		return vm.newNumber(ctx, float64(state))
	case "promiseResult":
		return vm.call(ctx, "qjs_promise_result", uint64(arg(0)))
	}
	return 0, fmt.Errorf("quickjs: guest called unknown host function %q", op)
}

func (vm *VM) hostInterrupt() uint32 {
	if vm.interrupted.Load() {
		return 1
	}
	return 0
}

// hostPromiseRejection owns promise and reason. Keeping the list of unhandled
// rejections is left to the guest, so that it is part of every checkpoint.
func (vm *VM) hostPromiseRejection(ctx context.Context, promise, reason, handled uint32) {
	flag, err := vm.newNumber(ctx, float64(handled))
	if err == nil {
		err = vm.bridgeCall(ctx, nil, "rejection", value(promise), value(reason), flag)
	}
	if err == nil {
		err = vm.free(ctx, value(promise), value(reason), flag)
	}
	// Where there is no memory left to remember it, a rejection goes unreported.
	if errors.Is(err, wasm.ErrTrapped) {
		panic(err)
	}
}

// timezoneOffset returns the seconds east of UTC at the given Unix time.
func timezoneOffset(hi, lo uint32) int32 {
	_, offset := time.Unix(int64(hi)<<32|int64(lo), 0).Zone()
	return int32(offset)
}
