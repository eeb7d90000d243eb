package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"loomstore/loom"
)

// stackPointer is the name that LLVM's toolchain gives to the pointer of the
// stack in linear memory; at rest it has the value it began with.
const stackPointer = "__stack_pointer"

// Config says how a module is brought to life.
type Config struct {
	// Module is the configuration of the instance: streams, clocks and so on.
	// Its name and start functions are overridden. Nil: wazero's default.
	Module wazero.ModuleConfig
	// Start is the exported function that initialises a fresh module, called
	// once in the life of a store and never at a restart. "" for none.
	Start string
	// Init follows Start. The host values that it returns are kept with every
	// checkpoint: pointers that the host will need again. May be nil.
	Init func(ctx context.Context, in *Instance) (host []uint64, err error)
	// Attach runs after every restart and Rollback, when the memory is the last
	// checkpoint's, to set again what the module has from this host. May be nil.
	Attach func(ctx context.Context, in *Instance) error
}

// Instance is a running module whose memory is a loom's arena. It is used by one
// goroutine at a time.
type Instance struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	loom     *loom.Loom
	config   Config
	sum      [sha256.Size]byte
	shape    *Shape

	module  api.Module
	globals []api.MutableGlobal // parallel to shape.Globals
	stack   api.Global          // nil if the module has no stack pointer
	rest    uint64              // its value at rest
	host    []uint64
	funcs   map[string]api.Function
	depth   int   // calls on the stack
	trap    error // why the memory is undefined, nil if it is not
}

// Open compiles bin, whose imports must be instantiated in r already, and
// brings it to life in l's arena: where the last checkpoint was, or fresh if
// there has never been one. It does not checkpoint.
//
// Errors: ErrUnsupported, ErrMismatch, ErrRecord, ErrCompile, and those of wazero
// and config's functions. The caller keeps r and l and closes both, after
// the instance.
func Open(ctx context.Context, r wazero.Runtime, bin []byte, l *loom.Loom, config *Config) (*Instance, error) {
	shape, err := Inspect(bin)
	if err != nil {
		return nil, err
	}
	in := &Instance{runtime: r, loom: l, sum: sha256.Sum256(bin), shape: shape}
	if config != nil {
		in.config = *config
	}
	if in.config.Module == nil {
		in.config.Module = wazero.NewModuleConfig()
	}
	// The stored hash speaks before the compiler takes its time.
	if _, err := in.stored(); err != nil {
		return nil, err
	}
	if in.compiled, err = r.CompileModule(ctx, bin); err != nil {
		return nil, fmt.Errorf("%w %x: %w", ErrCompile, in.sum, err)
	}
	if err := in.build(ctx); err != nil {
		return nil, errors.Join(err, in.compiled.Close(ctx))
	}
	return in, nil
}

// stored returns the record of the last checkpoint, checked against the module
// and the arena; nil if there has never been a checkpoint. An imported snapshot
// has had none either, but it is not empty.
func (in *Instance) stored() (*record, error) {
	b, epoch := in.loom.AppRecord(), in.loom.Epoch()
	if epoch == 0 && len(b) == 0 && in.loom.Metrics().ImagePages == 0 {
		return nil, nil
	}
	var rec record
	if err := rec.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("store at epoch %d: %w", epoch, err)
	}
	if rec.module != in.sum {
		return nil, &ModuleError{Stored: rec.module, Given: in.sum}
	}
	if len(rec.globals) != len(in.shape.Globals) {
		return nil, fmt.Errorf("%w: %d globals, the module has %d", ErrRecord, len(rec.globals), len(in.shape.Globals))
	}
	if rec.memory%wasmPage != 0 || rec.memory <= in.shape.MinPages*wasmPage {
		return nil, fmt.Errorf("%w: memory of %d bytes, the module begins with %d", ErrRecord, rec.memory, in.shape.MinPages*wasmPage)
	}
	if size := capacity(in.loom.Bytes()); rec.memory > size {
		return nil, fmt.Errorf("%w: memory of %d bytes, the arena holds %d", ErrRecord, rec.memory, size)
	}
	return &rec, nil
}

// build instantiates the module in the state of the last checkpoint.
func (in *Instance) build(ctx context.Context) error {
	rec, err := in.stored()
	if err != nil {
		return err
	}
	if size, need := capacity(in.loom.Bytes()), (in.shape.MinPages+1)*wasmPage; size < need {
		return fmt.Errorf("wasm: arena of %d bytes, the module needs %d at least", size, need)
	}
	memory := &linearMemory{loom: in.loom, scratch: rec != nil}
	config := in.config.Module.WithName("").WithStartFunctions()
	module, err := in.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, memory), in.compiled, config)
	if err != nil {
		return fmt.Errorf("instantiate module %x: %w", in.sum, err)
	}
	in.module, in.depth, in.trap, in.funcs = module, 0, nil, map[string]api.Function{}
	in.bindGlobals()
	if rec == nil {
		err = in.begin(ctx)
	} else {
		err = in.resume(ctx, rec)
	}
	if err != nil {
		return in.abandon(ctx, err)
	}
	return nil
}

func (in *Instance) bindGlobals() {
	in.globals, in.stack = nil, nil
	for _, name := range in.shape.Globals {
		g := in.module.ExportedGlobal(name).(api.MutableGlobal)
		in.globals = append(in.globals, g)
		if name == stackPointer {
			in.stack, in.rest = g, g.Get()
		}
	}
}

// begin starts a module that has never run.
func (in *Instance) begin(ctx context.Context) error {
	// One page more than the minimum: at a restart the memory must grow for
	// wazero to ask for the arena.
	if _, ok := in.module.Memory().Grow(1); !ok {
		return fmt.Errorf("%w: memory can not grow beyond its minimum of %d pages", ErrUnsupported, in.shape.MinPages)
	}
	if in.config.Start != "" {
		if _, err := in.Call(ctx, in.config.Start); err != nil {
			return err
		}
	}
	if in.config.Init == nil {
		return nil
	}
	host, err := in.config.Init(ctx, in)
	if err == nil {
		in.host = host
	}
	return err
}

// resume makes the instance go on from the checkpoint that rec belongs to.
func (in *Instance) resume(ctx context.Context, rec *record) error {
	if _, ok := in.module.Memory().Grow(uint32(rec.memory/wasmPage - in.shape.MinPages)); !ok {
		return fmt.Errorf("%w: memory can not grow to %d bytes", ErrRecord, rec.memory)
	}
	for i, v := range rec.globals {
		in.globals[i].Set(v)
	}
	in.host = rec.host
	if in.config.Attach == nil {
		return nil
	}
	return in.config.Attach(ctx, in)
}

// Host returns the host values, see Config.Init.
func (in *Instance) Host() []uint64 { return in.host }

// Memory returns the module's memory. It belongs to the instance only until
// the next Rollback.
func (in *Instance) Memory() api.Memory { return in.module.Memory() }

// Call calls an exported function. From inside a host function it may be used
// as well. An error means that the module trapped: see ErrTrapped.
func (in *Instance) Call(ctx context.Context, name string, args ...uint64) ([]uint64, error) {
	if in.trap != nil {
		return nil, in.trapped()
	}
	// A wazero function is not re-entrant, so only outermost calls share one.
	f := in.funcs[name]
	if f == nil || in.depth > 0 {
		if f = in.module.ExportedFunction(name); f == nil {
			return nil, fmt.Errorf("wasm: module exports no function %q", name)
		}
		if in.depth == 0 {
			in.funcs[name] = f
		}
	}
	in.depth++
	results, err := f.Call(ctx, args...)
	in.depth--
	if err != nil {
		in.trap = fmt.Errorf("call %s: %w", name, err)
		return nil, in.trapped()
	}
	return results, nil
}

func (in *Instance) trapped() error { return fmt.Errorf("%w: %w", ErrTrapped, in.trap) }

// Close ends the instance. What was not checkpointed is lost.
func (in *Instance) Close(ctx context.Context) error {
	return errors.Join(in.module.Close(ctx), in.compiled.Close(ctx))
}
