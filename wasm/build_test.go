package wasm

// A WebAssembly binary, section by section: enough of an assembler for tests.

func leb(n int) []byte {
	var b []byte
	for {
		c := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, leb(p)...)
		case string:
			b = append(append(b, leb(len(p))...), p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func vec(items ...[]byte) []byte {
	b := leb(len(items))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

func section(id int, body []byte) []byte { return cat(id, len(body), body) }

func wasmBinary(sections ...[]byte) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range sections {
		b = append(b, s...)
	}
	return b
}

func function(code ...byte) []byte {
	body := append([]byte{0}, append(code, 0x0b)...) // no locals; end
	return cat(len(body), body)
}

const (
	i32  = 0x7f
	end  = 0x0b
	none = 0x40
)

func i32const(n int) []byte { return append([]byte{0x41}, leb(n)...) }

// counter is a module with one page of memory. The count is in memory at 16,
// behind a data segment that begins it with 100, and in a second mutable
// global; inc adds one to both, grow grows the memory, trap stores and traps,
// call calls the host, sink leaves the stack pointer lower.
func counter() []byte {
	inc := []byte{
		0x41, 16, 0x41, 16, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, // mem[16]++
		0x23, 1, 0x41, 1, 0x6a, 0x24, 1, // global 1 ++
		0x41, 16, 0x28, 2, 0, 0x23, 1, 0x6a, // mem[16] + global 1
	}
	return wasmBinary(
		section(1, vec(cat([]byte{0x60, 0, 1, i32}), cat([]byte{0x60, 1, i32, 1, i32}), cat([]byte{0x60, 0, 0}))),
		section(2, vec(cat("env", "host", 0, 2))),
		section(3, vec(leb(0), leb(1), leb(2), leb(2), leb(2))),
		section(5, vec([]byte{0, 1})),
		section(6, vec(
			cat([]byte{i32, 1}, []byte{0x41, 0x80, 0x80, 4, end}), // 65536
			cat([]byte{i32, 1}, []byte{0x41, 0, end}),
			cat([]byte{i32, 0}, []byte{0x41, 7, end}),
		)),
		section(7, vec(
			cat("memory", 2, 0), cat("__stack_pointer", 3, 0), cat("turns", 3, 1),
			cat("inc", 0, 1), cat("grow", 0, 2), cat("trap", 0, 3), cat("call", 0, 4), cat("sink", 0, 5),
		)),
		section(10, vec(
			function(inc...),
			function(0x20, 0, 0x40, 0),
			function(0x41, 16, 0x41, 0x7f, 0x36, 2, 0, 0x00), // mem[16] = -1, unreachable
			function(0x10, 0),
			function(0x41, 16, 0x24, 0),
		)),
		section(11, vec(cat(0, []byte{0x41, 16, end}, "\x64\x00\x00\x00"))),
	)
}
