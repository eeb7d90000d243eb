package wasm

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const guestModule = "../guest/node_modules/quickjs-wasi/quickjs.wasm"

func quickjs(t testing.TB) []byte {
	t.Helper()
	bin, err := os.ReadFile(guestModule)
	if err != nil {
		t.Skip("no guest, the JavaScript engine was not inspected: npm ci --prefix guest --ignore-scripts")
	}
	return bin
}

func TestInspectAccepts(t *testing.T) {
	shape, err := Inspect(counter())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Shape{MinPages: 1, Globals: []string{"__stack_pointer", "turns"}}, shape); diff != "" {
		t.Error(diff)
	}
}

func TestInspectQuickJS(t *testing.T) {
	shape, err := Inspect(quickjs(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Shape{MinPages: 18, Globals: []string{"__stack_pointer"}}, shape); diff != "" {
		t.Error(diff)
	}
}

func TestInspectRefuses(t *testing.T) {
	memory := section(5, vec([]byte{0, 1}))
	code := func(instructions ...byte) []byte {
		return wasmBinary(memory, section(10, vec(function(instructions...))))
	}
	global := func(valueType, mutable byte) []byte {
		return section(6, vec([]byte{valueType, mutable, 0x41, 0, end}))
	}
	for _, c := range []struct {
		name string
		bin  []byte
		want string
	}{
		{"empty", nil, "not a WebAssembly"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "not a WebAssembly"},
		{"no memory", wasmBinary(), "0 memories"},
		{"two memories", wasmBinary(section(5, vec([]byte{0, 1}, []byte{0, 1}))), "2 memories"},
		{"shared memory", wasmBinary(section(5, vec([]byte{3, 1, 2}))), "shared or 64-bit"},
		{"64-bit memory", wasmBinary(section(5, vec([]byte{4, 1}))), "shared or 64-bit"},
		{"imported memory", wasmBinary(section(2, vec(cat("env", "m", 2, []byte{0, 1})))), "imported memory env.m"},
		{"imported table", wasmBinary(section(2, vec(cat("env", "t", 1, []byte{0x70, 0, 1}))), memory), "imported table env.t"},
		{"imported mutable global", wasmBinary(section(2, vec(cat("env", "g", 3, []byte{i32, 1}))), memory), "global 0 is imported"},
		{"hidden mutable global", wasmBinary(memory, global(i32, 1)), "global 0 is not exported"},
		{"mutable reference", wasmBinary(memory, global(0x70, 1), section(7, vec(cat("g", 3, 0)))), "not a number"},
		{"start function", wasmBinary(memory, section(8, leb(0))), "start function"},
		{"passive data", wasmBinary(memory, section(11, vec(cat(1, "x")))), "data segment 0 is passive"},
		{"passive elements", wasmBinary(memory, section(9, vec(cat(1, 0, vec(leb(0)))))), "element segment 0 is passive"},
		{"table.set", code(0x26, 0), "function body 0: table.set"},
		{"table.grow", code(0xfc, 15, 0), "table.grow"},
		{"table.fill", code(0xfc, 17, 0), "table.fill"},
		{"table.copy", code(0xfc, 14, 0, 0), "table.copy"},
		{"table.init", code(0xfc, 12, 0, 0), "table.init"},
		{"elem.drop", code(0xfc, 13, 0), "elem.drop"},
		{"memory.init", code(0xfc, 8, 0, 0), "memory.init"},
		{"data.drop", code(0xfc, 9, 0), "data.drop"},
		{"behind a block", code(0x02, none, 0x41, 1, 0x0d, 0, 0x0b, 0x26, 0), "table.set"},
		{"behind a vector", code(0xfd, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x1a, 0x26, 0), "table.set"},
		{"atomic", code(0xfe, 0, 2, 0), "atomic"},
		{"unknown", code(0x06, none), "unknown instruction 0x6"},
		{"unknown section", wasmBinary(memory, section(14, nil)), "unknown section 14"},
		{"second code section", wasmBinary(memory, section(10, vec()), section(10, vec())), "second section 10"},
		{"count beyond the bytes", wasmBinary(section(5, []byte{0xff, 0xff, 0xff, 0xff, 0x0f})), "unexpected end"},
		{"section beyond the bytes", wasmBinary([]byte{5, 9, 1}), "unexpected end"},
		{"number too long", wasmBinary([]byte{5, 0x80, 0x80, 0x80, 0x80, 0x80, 0}), "number too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Inspect(c.bin)
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrUnsupported with %q", err, c.want)
			}
		})
	}
}

// Instructions that are no danger, next to each other: a wrong length of one
// would make the table.set behind them vanish, or appear too early.
func TestInspectWalksInstructions(t *testing.T) {
	for _, code := range [][]byte{
		{0x03, none, 0x0c, 0, end},       // loop, br
		{0x0e, 2, 0, 1, 0},               // br_table
		{0x11, 0, 0},                     // call_indirect
		{0x1c, 1, i32},                   // select with types
		{0x28, 2, 0x80, 0x26},            // load, offset of two bytes
		{0x41, 0x26}, {0x42, 0xff, 0x26}, // constants
		{0x43, 0x26, 0x26, 0x26, 0x26},             //
		{0x44, 0x26, 0x26, 0x26, 0x26, 1, 1, 1, 1}, //
		{0xd0, 0x70}, {0xd2, 0x26}, {0xd1}, // references
		{0x25, 0x26},                                                 // table.get
		{0xfc, 10, 0, 0}, {0xfc, 11, 0}, {0xfc, 16, 0x26}, {0xfc, 7}, // bulk
		{0xfd, 0, 0, 0x26}, {0xfd, 84, 0, 0, 0x26}, {0xfd, 21, 0x26}, {0xfd, 0x80, 1}, // vectors
		{0xfd, 13, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26},
		{0x3f, 0}, {0x40, 0}, {0x45}, {0xc4}, {0x00}, {0x0f},
	} {
		r := &reader{b: append(append([]byte{0}, code...), 0x26, 0)}
		var refused string
		functionBody(r, func(format string, _ ...any) { refused = format })
		if refused != "table.set" {
			t.Errorf("% x: refused for %q (%v), want table.set behind it", code, refused, r.err)
		}
		// off is behind the opcode that was refused.
		if want := 1 + len(code) + 1; r.off != want {
			t.Errorf("% x: refused at %d, want %d", code, r.off, want)
		}
	}
}

// No byte of a module can make Inspect panic, hang or pass the end.
func TestInspectHostile(t *testing.T) {
	bin := counter()
	for n := range bin {
		Inspect(bin[:n])
		for bit := range 8 {
			b := append([]byte(nil), bin...)
			b[n] ^= 1 << bit
			Inspect(b)
		}
	}
}
