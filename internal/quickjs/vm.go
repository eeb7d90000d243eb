package quickjs

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"

	"loomstore/loom"
	"loomstore/wasm"
)

//go:embed prelude.js
var prelude string

const (
	// bridgeVersion numbers the agreement between this package and the
	// prelude.js that a store was begun with.
	bridgeVersion = 1

	// maxStack is half of the engine's stack: deeper recursion must end in a
	// RangeError, not in a trap at the stack's end.
	maxStack = 512 << 10
)

var (
	// ErrBridge: the store was begun by another version of this package.
	ErrBridge = errors.New("quickjs: store was begun by another version")

	errNoMemory = errors.New("quickjs: out of memory: the arena is full")
)

// ScriptError is what a script threw, as text: not a failure of the engine.
type ScriptError struct{ Text string }

func (e *ScriptError) Error() string { return e.Text }

// Config is what a VM needs of its host.
type Config struct {
	Module []byte // quickjs.wasm
	// Print takes one line of console output; stream is 1 or 2.
	Print func(stream int, line string)
	// Stderr takes what the engine itself may write. nil: discarded.
	Stderr io.Writer
	// CacheDir keeps the compiled engine between runs; "" compiles it anew.
	CacheDir string
}

// VM is a JavaScript engine whose heap is an arena. It is used by one goroutine
// at a time, except Interrupt.
type VM struct {
	config  Config
	loom    *loom.Loom
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	in      *wasm.Instance
	bridge  value  // prelude.js's function
	context uint64 // the engine's JSContext

	requested   bool // a script called checkpoint()
	describing  bool // an exception is being made into text
	interrupted atomic.Bool
}

// Open starts the engine in the arena, or goes on with the one that is there.
// In the latter case every promise of a checkpoint() that the last checkpoint
// caught pending is fulfilled; Drain runs what follows from that.
//
// Errors: those of wasm.Open, and ErrBridge.
func Open(ctx context.Context, l *loom.Loom, config Config) (*VM, error) {
	vm := &VM{config: config, loom: l}
	err := vm.open(ctx)
	if errors.Is(err, wasm.ErrCompile) && config.CacheDir != "" {
		// A damaged cache must not keep anybody from a sound store.
		config.CacheDir = ""
		return Open(ctx, l, config)
	}
	if err != nil {
		return nil, errors.Join(err, vm.Close(ctx))
	}
	if err := vm.Settle(ctx, nil); err != nil {
		return nil, errors.Join(err, vm.Close(ctx))
	}
	return vm, nil
}

func (vm *VM) open(ctx context.Context) (err error) {
	config := wazero.NewRuntimeConfig()
	if vm.config.CacheDir != "" {
		// One that can not be used costs time, as a damaged one does.
		if cache, err := wazero.NewCompilationCacheWithDir(vm.config.CacheDir); err == nil {
			vm.cache, config = cache, config.WithCompilationCache(cache)
		}
	}
	vm.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := vm.instantiateImports(ctx, vm.runtime); err != nil {
		return err
	}
	module := wazero.NewModuleConfig().
		WithRandSource(rand.Reader).
		WithSysWalltime().
		WithNanotime(nanotime(), sys.ClockResolution(1))
	if vm.config.Stderr != nil {
		module = module.WithStdout(vm.config.Stderr).WithStderr(vm.config.Stderr)
	}
	_, err = wasm.Open(ctx, vm.runtime, vm.config.Module, vm.loom, &wasm.Config{
		Module: module,
		Start:  "_initialize",
		Init:   vm.begin,
		Attach: vm.attach,
	})
	return err
}

// nanotime returns a monotonic clock that also goes on, not back to 0, when the
// engine is restarted: the engine keeps the origin of performance.now() in its
// memory.
func nanotime() sys.Nanotime {
	start := time.Now()
	return func() int64 { return start.UnixNano() + int64(time.Since(start)) }
}

// begin initialises the engine in an empty arena.
func (vm *VM) begin(ctx context.Context, in *wasm.Instance) ([]uint64, error) {
	vm.in = in
	if status, err := vm.call(ctx, "qjs_init"); err != nil || status != 0 {
		return nil, errors.Join(fmt.Errorf("quickjs: engine did not start (status %d)", status), err)
	}
	if _, err := vm.call(ctx, "qjs_set_max_stack_size", maxStack); err != nil {
		return nil, err
	}
	if err := vm.setHandlers(ctx); err != nil {
		return nil, err
	}
	if err := vm.evalPrelude(ctx); err != nil {
		return nil, fmt.Errorf("evaluate prelude: %w", err)
	}
	host := []uint64{bridgeVersion, uint64(vm.bridge)}
	for _, pointer := range []string{"qjs_get_runtime_ptr", "qjs_get_context_ptr"} {
		p, err := vm.call(ctx, pointer)
		if err != nil {
			return nil, err
		}
		host = append(host, uint64(p))
	}
	vm.context = host[3]
	return host, nil
}

// attach connects this process with an engine restored from a checkpoint.
func (vm *VM) attach(ctx context.Context, in *wasm.Instance) error {
	vm.in, vm.requested = in, false
	host := in.Host()
	if len(host) != 4 || host[0] != bridgeVersion {
		return fmt.Errorf("%w: host values %x, want 4 that begin with version %d", ErrBridge, host, bridgeVersion)
	}
	vm.bridge, vm.context = value(host[1]), host[3]
	if _, err := vm.call(ctx, "qjs_set_runtime_and_context", host[2], host[3]); err != nil {
		return err
	}
	return vm.setHandlers(ctx)
}

func (vm *VM) setHandlers(ctx context.Context) error {
	for _, set := range []string{"qjs_set_interrupt_handler", "qjs_set_promise_rejection_handler"} {
		if _, err := vm.call(ctx, set, 1); err != nil {
			return err
		}
	}
	return nil
}

// evalPrelude evaluates prelude.js, a function, and calls it with the host
// functions; its result is the bridge.
func (vm *VM) evalPrelude(ctx context.Context) error {
	f, err := vm.eval(ctx, prelude, "<loom>", 0)
	if err != nil {
		return err
	}
	args := make([]value, len(hostFunctions))
	for i, name := range hostFunctions {
		err := vm.withBytes(ctx, name, func(p uint32) (err error) {
			args[i], err = vm.call(ctx, "qjs_new_host_function", uint64(p), uint64(len(name)), 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	if vm.bridge, err = vm.apply(ctx, f, args...); err != nil {
		return err
	}
	return vm.free(ctx, append(args, f)...)
}

// Interrupt makes the script that is running throw an error that it can not
// catch, and the next ones too until Resume. Safe for concurrent use.
func (vm *VM) Interrupt() { vm.interrupted.Store(true) }

// Resume ends an Interrupt. Safe for concurrent use.
func (vm *VM) Resume() { vm.interrupted.Store(false) }

// Interrupted reports whether an Interrupt is in force.
func (vm *VM) Interrupted() bool { return vm.interrupted.Load() }

// Checkpoint saves the engine's whole state: see wasm.Instance.Checkpoint.
func (vm *VM) Checkpoint(ctx context.Context) (loom.Checkpoint, error) { return vm.in.Checkpoint(ctx) }

// CheckpointAsync saves it in the background: see wasm.Instance.CheckpointAsync.
func (vm *VM) CheckpointAsync(ctx context.Context) (*loom.Pending, error) {
	return vm.in.CheckpointAsync(ctx)
}

// Rollback brings the engine back to the last checkpoint, the only way on after
// an error that wraps wasm.ErrTrapped. What awaited that checkpoint throws
// cause.
func (vm *VM) Rollback(ctx context.Context, cause error) error {
	if err := vm.in.Rollback(ctx); err != nil {
		return err
	}
	return vm.Settle(ctx, cause)
}

// Close ends the engine. What was not checkpointed is lost. The arena stays
// open.
func (vm *VM) Close(ctx context.Context) error {
	var errs []error
	if vm.runtime != nil {
		errs = append(errs, vm.runtime.Close(ctx)) // with every instance in it
	}
	if vm.cache != nil {
		errs = append(errs, vm.cache.Close(ctx))
	}
	return errors.Join(errs...)
}
