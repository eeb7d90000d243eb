package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"loomstore/fault"
	"loomstore/loom"
)

// world is a store with the counter module running in it.
type world struct {
	*Instance
	loom    *loom.Loom
	runtime wazero.Runtime
	inits   int
	attach  int
	host    func() // what env.host does
}

type setup struct {
	runtime wazero.RuntimeConfig
	tracker fault.Kind
	size    int64
	bin     []byte
	init    func(*Instance) error
}

func open(t *testing.T, dir string, s setup) (*world, error) {
	t.Helper()
	if s.runtime == nil {
		s.runtime = wazero.NewRuntimeConfig()
	}
	if s.size == 0 {
		s.size = 16 << 20
	}
	if s.bin == nil {
		s.bin = counter()
	}
	w := &world{host: func() {}}
	var err error
	if w.loom, err = loom.Open(dir, &loom.Options{Size: s.size, Tracker: s.tracker}); err != nil {
		t.Fatal(err)
	}
	w.runtime = wazero.NewRuntimeWithConfig(t.Context(), s.runtime)
	t.Cleanup(func() { w.close(t) })
	env := w.runtime.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func() { w.host() }).Export("host")
	if _, err := env.Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Instance, err = Open(t.Context(), w.runtime, s.bin, w.loom, &Config{
		Init: func(_ context.Context, in *Instance) ([]uint64, error) {
			w.inits++
			if s.init != nil {
				return nil, s.init(in)
			}
			return []uint64{41, 42}, nil
		},
		Attach: func(context.Context, *Instance) error { w.attach++; return nil },
	})
	return w, err
}

// close leaves what was not checkpointed behind.
func (w *world) close(t *testing.T) {
	t.Helper()
	if w.runtime == nil {
		return
	}
	if w.Instance != nil {
		if err := w.Instance.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(w.runtime.Close(context.Background()), w.loom.Close()); err != nil {
		t.Error(err)
	}
	w.runtime = nil
}

func mustOpen(t *testing.T, dir string, s setup) *world {
	t.Helper()
	w, err := open(t, dir, s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) call(t *testing.T, name string, args ...uint64) uint64 {
	t.Helper()
	r, err := w.Call(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	if len(r) == 0 {
		return 0
	}
	return r[0]
}

func (w *world) checkpoint(t *testing.T) {
	t.Helper()
	if _, err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func eachSetup(t *testing.T, f func(t *testing.T, s setup)) {
	engines := map[string]wazero.RuntimeConfig{
		"default":     wazero.NewRuntimeConfig(),
		"interpreter": wazero.NewRuntimeConfigInterpreter(),
	}
	for name, engine := range engines {
		for _, tracker := range []fault.Kind{fault.Auto, fault.Mprotect, fault.Cow, fault.Compare} {
			t.Run(fmt.Sprintf("%s/%s", name, tracker), func(t *testing.T) {
				f(t, setup{runtime: engine, tracker: tracker})
			})
		}
	}
}

// Memory, globals, host values and size come back as they were at the last
// checkpoint, and the module runs on.
func TestRestart(t *testing.T) {
	eachSetup(t, func(t *testing.T, s setup) {
		dir := t.TempDir()
		w := mustOpen(t, dir, s)
		for i := range 3 {
			if got, want := w.call(t, "inc"), uint64(102+2*i); got != want {
				t.Fatalf("inc %d: %d, want %d", i, got, want)
			}
		}
		w.call(t, "grow", 5)
		w.checkpoint(t)
		w.call(t, "inc")
		w.call(t, "grow", 9)
		if w.inits != 1 || w.attach != 0 {
			t.Errorf("begun with %d inits and %d attaches", w.inits, w.attach)
		}
		w.close(t)

		for round := range uint64(3) {
			w = mustOpen(t, dir, s)
			if w.inits != 0 || w.attach != 1 {
				t.Errorf("restarted with %d inits and %d attaches", w.inits, w.attach)
			}
			if diff := cmp.Diff([]uint64{41, 42}, w.Host()); diff != "" {
				t.Error(diff)
			}
			// 2 pages at the beginning, 5 more.
			if got := w.Memory().Size(); got != 7*wasmPage {
				t.Errorf("memory of %d pages, want 7", got/wasmPage)
			}
			if got, want := w.call(t, "inc"), 108+2*round; got != want {
				t.Errorf("inc after restart %d: %d, want %d", round, got, want)
			}
			w.checkpoint(t)
			w.close(t)
		}
	})
}

func TestRollbackAfterTrap(t *testing.T) {
	eachSetup(t, func(t *testing.T, s setup) {
		w := mustOpen(t, t.TempDir(), s)
		w.call(t, "inc")
		w.checkpoint(t)
		w.call(t, "inc")
		w.call(t, "grow", 3)
		if b, ok := w.Memory().Read(4*wasmPage, 1); !ok {
			t.Fatal("memory did not grow")
		} else {
			b[0] = 1
		}
		if _, err := w.Call(t.Context(), "trap"); !errors.Is(err, ErrTrapped) {
			t.Fatalf("trap: %v", err)
		}
		if _, err := w.Call(t.Context(), "inc"); !errors.Is(err, ErrTrapped) {
			t.Errorf("call after trap: %v", err)
		}
		if _, err := w.Checkpoint(t.Context()); !errors.Is(err, ErrTrapped) {
			t.Errorf("checkpoint after trap: %v", err)
		}
		if _, err := w.CheckpointAsync(t.Context()); !errors.Is(err, ErrTrapped) {
			t.Errorf("asynchronous checkpoint after trap: %v", err)
		}
		if err := w.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.Memory().Size(); got != 2*wasmPage {
			t.Errorf("memory of %d pages, want 2", got/wasmPage)
		}
		if got := w.call(t, "inc"); got != 104 {
			t.Errorf("inc: %d, want 104", got)
		}
		// Memory that is grown again is zero again.
		w.call(t, "grow", 3)
		if b, _ := w.Memory().Read(4*wasmPage, 1); b[0] != 0 {
			t.Errorf("grown memory holds %d", b[0])
		}
		w.checkpoint(t)
	})
}

// Without any checkpoint Rollback begins anew.
func TestRollbackToBeginning(t *testing.T) {
	w := mustOpen(t, t.TempDir(), setup{})
	w.call(t, "inc")
	if err := w.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.call(t, "inc"); got != 102 || w.inits != 2 {
		t.Errorf("inc: %d after %d inits, want 102 after 2", got, w.inits)
	}
}

// An instance that a rollback could not bring back is closed, and says why.
func TestRollbackFails(t *testing.T) {
	w := mustOpen(t, t.TempDir(), setup{})
	w.checkpoint(t)
	if err := w.Instance.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Rollback(t.Context()); err == nil {
		t.Fatal("a closed instance was rolled back")
	}
	if _, err := w.Call(t.Context(), "inc"); !errors.Is(err, ErrTrapped) {
		t.Errorf("call: %v, want ErrTrapped", err)
	}
	if _, err := w.Checkpoint(t.Context()); !errors.Is(err, ErrTrapped) {
		t.Errorf("checkpoint: %v, want ErrTrapped", err)
	}
}

func TestCheckpointOnlyAtRest(t *testing.T) {
	w := mustOpen(t, t.TempDir(), setup{})
	var inside, rollback error
	w.host = func() {
		_, inside = w.Checkpoint(t.Context())
		rollback = w.Rollback(t.Context())
	}
	w.call(t, "call")
	if !errors.Is(inside, ErrBusy) || !errors.Is(rollback, ErrBusy) {
		t.Errorf("inside a call: %v and %v, want ErrBusy", inside, rollback)
	}
	// A host function may call the module, and the same function again.
	w.host = func() { w.call(t, "inc") }
	w.call(t, "call")
	w.checkpoint(t)
	w.call(t, "sink")
	if _, err := w.Checkpoint(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("with a stack pointer not at rest: %v, want ErrBusy", err)
	}
}

func TestMemoryEnds(t *testing.T) {
	// Not a multiple of 64 KiB: what does not fill a WebAssembly page is no use.
	w := mustOpen(t, t.TempDir(), setup{size: 6*wasmPage + loom.PageSize})
	if got := int32(w.call(t, "grow", 5)); got != -1 {
		t.Errorf("grow beyond the arena: %d, want -1", got)
	}
	if got := w.call(t, "grow", 4); got != 2 {
		t.Errorf("grow to the end of the arena: %d, want 2", got)
	}
	if got := w.call(t, "inc"); got != 102 {
		t.Errorf("inc: %d, want 102", got)
	}
	w.checkpoint(t)

	if _, err := open(t, t.TempDir(), setup{size: wasmPage}); err == nil {
		t.Error("an arena as small as the module's minimum is no error")
	}
}

func TestCheckpointAsync(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, setup{})
	w.call(t, "inc")
	p, err := w.CheckpointAsync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.call(t, "inc")
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.close(t)
	w = mustOpen(t, dir, setup{})
	if got := w.call(t, "inc"); got != 104 {
		t.Errorf("inc: %d, want 104", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, setup{})
	w.call(t, "grow", 20)
	w.checkpoint(t)
	w.close(t)

	other := counter()
	other[len(other)-1]++ // of the data
	w, err := open(t, dir, setup{bin: other})
	m, ok := errors.AsType[*ModuleError](err)
	if !ok || !errors.Is(err, ErrMismatch) || m.Stored == m.Given {
		t.Errorf("another module: %v, want *ModuleError", err)
	}
	w.close(t)

	w, err = open(t, dir, setup{bin: wasmBinary()})
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("a module without memory: %v, want ErrUnsupported", err)
	}
	w.close(t)

	// None of these changed the store.
	w = mustOpen(t, dir, setup{})
	if got := w.call(t, "inc"); got != 102 {
		t.Errorf("inc: %d, want 102", got)
	}
}

// A store of another program is refused, whatever its record is.
func TestOpenRefusesRecords(t *testing.T) {
	good := func(change func(*record)) []byte {
		rec := record{memory: 2 * wasmPage, globals: []uint64{wasmPage, 0}}
		sum := mustOpen(t, t.TempDir(), setup{}).sum
		rec.module = sum
		change(&rec)
		b, err := rec.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, app := range map[string][]byte{
		"none":             nil,
		"foreign":          []byte("another program's root pointer"),
		"global too few":   good(func(r *record) { r.globals = r.globals[:1] }),
		"no multiple":      good(func(r *record) { r.memory++ }),
		"below minimum":    good(func(r *record) { r.memory = wasmPage }),
		"beyond the arena": good(func(r *record) { r.memory = 1 << 40 }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := loom.Open(dir, &loom.Options{Size: 16 << 20})
			if err != nil {
				t.Fatal(err)
			}
			copy(l.Bytes(), "state of another program")
			if err := l.SetAppRecord(app); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, dir, setup{}); !errors.Is(err, ErrRecord) {
				t.Errorf("%v, want ErrRecord", err)
			}
		})
	}
}

// An imported snapshot is another program's state as well.
func TestOpenRefusesImported(t *testing.T) {
	dir := t.TempDir()
	image := bytes.Repeat([]byte("vere"), loom.PageSize/4)
	if err := os.WriteFile(filepath.Join(dir, "image.bin"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := open(t, dir, setup{})
	if !errors.Is(err, ErrRecord) {
		t.Errorf("%v, want ErrRecord", err)
	}
	if !bytes.Equal(w.loom.Bytes()[:len(image)], image) {
		t.Error("its memory was stored to")
	}
}

func TestInitFails(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("broken")
	w, err := open(t, dir, setup{init: func(*Instance) error { return broken }})
	if !errors.Is(err, broken) {
		t.Fatalf("%v, want the error of Init", err)
	}
	w.close(t)
	if got := mustOpen(t, dir, setup{}).call(t, "inc"); got != 102 {
		t.Errorf("inc: %d, want 102", got)
	}
}
