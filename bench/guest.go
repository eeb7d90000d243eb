package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"loomstore/internal/quickjs"
	"loomstore/loom"
)

const guestModule = "../guest/node_modules/quickjs-wasi/quickjs.wasm"

//go:embed guest.js
var guestScript string

// guestSuite measures a program in JavaScript whose every request is durable
// before it is answered.
func guestSuite() suite {
	return suite{
		name:  "guest",
		title: "A JavaScript program, every request durable before the next",
		note: "QuickJS with a heap of about 30 MB; a request replaces 20 of 40,000 objects (guest.js). The share of work behind the last " +
			"checkpoint is in it. async: the next request runs while the last one is being saved. The floor saves nothing.",
		unit: "", floor: "no checkpoint", columns: []string{"ms a request", "requests a second"},
		open: openGuest,
	}
}

func openGuest(w *world) (_ *bench, err error) {
	b := new(bench)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shut())
		}
	}()
	module, err := os.ReadFile(guestModule)
	if err != nil {
		return nil, fmt.Errorf("%w: make guest", err)
	}
	requests := 50
	if w.short {
		requests = 3
	}
	ctx := context.Background()
	for _, row := range []string{"no checkpoint", "Checkpoint", "CheckpointAsync", "whole heap"} {
		g, err := newProgram(ctx, w, module, row)
		if err != nil {
			return nil, err
		}
		b.defers(g.close)
		save := map[string]func() error{
			"no checkpoint":   func() error { return nil },
			"Checkpoint":      func() error { _, err := g.vm.Checkpoint(ctx); return err },
			"CheckpointAsync": func() error { _, err := g.vm.CheckpointAsync(ctx); return err },
			"whole heap":      g.saveHeap,
		}[row]
		b.cells = append(b.cells, cell{row: row, run: func() (map[string]float64, error) {
			start := time.Now()
			for range requests {
				if err := g.eval(ctx, "request()"); err != nil {
					return nil, err
				}
				if err := save(); err != nil {
					return nil, err
				}
			}
			if err := g.settle(ctx); err != nil {
				return nil, err
			}
			each := since(start) / float64(requests)
			return map[string]float64{"ms a request": each, "requests a second": 1000 / each}, nil
		}})
	}
	return b, nil
}

// program is a JavaScript engine with its store.
type program struct {
	dir  string
	loom *loom.Loom
	vm   *quickjs.VM
	low  int64
}

func newProgram(ctx context.Context, w *world, module []byte, name string) (_ *program, err error) {
	g := &program{dir: w.path("guest " + name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.loom, err = loom.Open(g.dir, &loom.Options{Size: 1 << 30}); err != nil {
		return nil, err
	}
	if g.vm, err = quickjs.Open(ctx, g.loom, quickjs.Config{
		Module: module, Print: func(int, string) {}, CacheDir: w.path("wasm"),
	}); err != nil {
		return nil, err
	}
	nodes := 40000
	if w.short {
		nodes = 1000
	}
	if err := g.eval(ctx, fmt.Sprintf("globalThis.count = %d;\n%s", nodes, guestScript)); err != nil {
		return nil, err
	}
	c, err := g.vm.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	g.low = c.Low
	return g, g.loom.Wait(ctx)
}

// eval runs source to its end.
func (g *program) eval(ctx context.Context, source string) error {
	if err := g.vm.Begin(ctx, source, "bench", "bench"); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = g.vm.Step(ctx); err != nil {
			return err
		}
	}
	o, err := g.vm.Outcome(ctx)
	if err == nil && o.State != quickjs.Done {
		err = fmt.Errorf("script: %s %s", o.State, o.Text)
	}
	return err
}

// saveHeap saves the engine's memory as it was after the script had begun.
func (g *program) saveHeap() error {
	name := filepath.Join(g.dir, "heap")
	if err := writeHeap(name+".new", g.loom.Bytes()[:g.low]); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(g.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeHeap(name string, heap []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(heap)
	return errors.Join(err, f.Sync(), f.Close())
}

// settle waits for the last checkpoint and its apply.
func (g *program) settle(ctx context.Context) error { return g.loom.Wait(ctx) }

func (g *program) close() error {
	var errs []error
	if g.vm != nil {
		errs = append(errs, g.vm.Close(context.Background()))
	}
	if g.loom != nil {
		errs = append(errs, g.loom.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}
