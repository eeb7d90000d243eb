package wasm

import "fmt"

// What Inspect has to know about an instruction is the length of its
// immediates. Instructions are listed by the specification's binary format,
// release 2.0; anything newer is refused as unknown.

// functionBody walks one body of the code section.
func functionBody(r *reader, refuse func(string, ...any)) {
	r.each(func(uint64) { // locals
		r.u32()
		r.byte()
	})
	for !r.done() && instruction(r, refuse) {
	}
}

// constExpr walks an initialisation expression through its end.
func constExpr(r *reader, refuse func(string, ...any)) {
	for !r.done() {
		if r.b[0] == 0x0b { // end: these expressions have no blocks
			r.byte()
			return
		}
		if !instruction(r, refuse) {
			return
		}
	}
	r.fail(errShort)
}

// instruction reads one instruction and says whether the walk can go on. It
// refuses those that change state outside the memory and the globals.
func instruction(r *reader, refuse func(string, ...any)) bool {
	stop := func(format string, args ...any) bool {
		refuse(format, args...)
		r.fail(fmt.Errorf(format, args...))
		return false
	}
	switch op := r.byte(); {
	case op >= 0x02 && op <= 0x04: // block, loop, if: block type
		r.leb(33)
	case op == 0x0c || op == 0x0d || op == 0x10, // br, br_if, call
		op >= 0x20 && op <= 0x24, // local.*, global.*
		op == 0x25,               // table.get
		op == 0x3f || op == 0x40, // memory.size, memory.grow
		op == 0xd2:               // ref.func
		r.u32()
	case op == 0x26:
		return stop("table.set")
	case op == 0x0e: // br_table
		r.each(func(uint64) { r.u32() })
		r.u32()
	case op == 0x11: // call_indirect
		r.u32()
		r.u32()
	case op == 0x1c: // select with types
		r.each(func(uint64) { r.byte() })
	case op >= 0x28 && op <= 0x3e: // loads and stores
		memarg(r)
	case op == 0x41: // i32.const
		r.leb(32)
	case op == 0x42: // i64.const
		r.leb(64)
	case op == 0x43: // f32.const
		r.bytes(4)
	case op == 0x44: // f64.const
		r.bytes(8)
	case op == 0xd0: // ref.null
		r.leb(33)
	case op <= 0x01, op == 0x05, op == 0x0b, op == 0x0f, // unreachable, nop, else, end, return
		op == 0x1a || op == 0x1b, // drop, select
		op >= 0x45 && op <= 0xc4, // numeric
		op == 0xd1:               // ref.is_null
	case op == 0xfc:
		return bulkInstruction(r, stop)
	case op == 0xfd:
		return vectorInstruction(r, stop)
	case op == 0xfe:
		return stop("atomic instruction")
	default:
		return stop("unknown instruction %#x", op)
	}
	return r.err == nil
}

func memarg(r *reader) {
	r.leb(32) // alignment; a flag in it would select another memory, of which there is none
	r.leb(64)
}

func bulkInstruction(r *reader, stop func(string, ...any) bool) bool {
	switch op := r.u32(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case 10: // memory.copy
		r.u32()
		r.u32()
	case 11, 16: // memory.fill, table.size
		r.u32()
	case 8, 9, 12, 13, 14, 15, 17:
		return stop("%s", map[uint64]string{8: "memory.init", 9: "data.drop", 12: "table.init",
			13: "elem.drop", 14: "table.copy", 15: "table.grow", 17: "table.fill"}[op])
	default:
		return stop("unknown instruction 0xfc %d", op)
	}
	return r.err == nil
}

func vectorInstruction(r *reader, stop func(string, ...any) bool) bool {
	switch op := r.u32(); {
	case op <= 11 || op == 92 || op == 93: // loads and stores
		memarg(r)
	case op >= 84 && op <= 91: // lane loads and stores
		memarg(r)
		r.byte()
	case op == 12 || op == 13: // v128.const, i8x16.shuffle
		r.bytes(16)
	case op >= 21 && op <= 34: // lane access
		r.byte()
	case op > 255:
		return stop("unknown instruction 0xfd %d", op)
	}
	return r.err == nil
}
