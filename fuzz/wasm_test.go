package fuzz

import (
	"bytes"
	"testing"

	"github.com/tetratelabs/wazero"

	"loomstore/wasm"
)

// FuzzWasmInspect: no module makes wasm.Inspect panic or read past its end, and
// of the modules that the compiler takes it knows the memory's size.
func FuzzWasmInspect(f *testing.F) {
	header := []byte("\x00asm\x01\x00\x00\x00")
	memory := []byte{5, 3, 1, 0, 1}
	for _, sections := range [][]byte{
		nil,
		memory,
		{5, 4, 1, 1, 1, 2}, // with a maximum
		{5, 4, 1, 3, 1, 2}, // shared
		append(bytes.Clone(memory), 6, 6, 1, 0x7f, 1, 0x41, 0, 0x0b),                                                                                   // hidden global
		append(bytes.Clone(memory), 6, 6, 1, 0x7f, 1, 0x41, 0, 0x0b, 7, 5, 1, 1, 'g', 3, 0),                                                            // exported
		append([]byte{1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 4, 4, 1, 0x70, 0, 1}, append(memory, 9, 7, 1, 0, 0x41, 0, 0x0b, 1, 0, 10, 4, 1, 2, 0, 0x0b)...), // table
		append([]byte{1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0}, append(memory, 10, 12, 1, 10, 0, 0x02, 0x40, 0x0e, 1, 0, 0, 0x0b, 0x0b, 0x0b)...),
		append(bytes.Clone(memory), 11, 7, 1, 0, 0x41, 0, 0x0b, 1, 'x'), // data
		append(bytes.Clone(memory), 11, 4, 1, 1, 1, 'x'),                // passive data
	} {
		f.Add(append(bytes.Clone(header), sections...))
	}
	ctx := f.Context()
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { runtime.Close(ctx) })
	f.Fuzz(func(t *testing.T, bin []byte) {
		shape, err := wasm.Inspect(bin)
		if err != nil {
			return
		}
		module, err := runtime.CompileModule(t.Context(), bin)
		if err != nil {
			return
		}
		defer module.Close(t.Context())
		for name, m := range module.ExportedMemories() {
			if uint64(m.Min()) != shape.MinPages {
				t.Errorf("memory %s begins with %d pages, Inspect says %d", name, m.Min(), shape.MinPages)
			}
		}
	})
}
