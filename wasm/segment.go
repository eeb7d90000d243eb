package wasm

import "fmt"

// dataSegment walks one segment of the data section.
func dataSegment(r *reader, i uint64, refuse func(string, ...any)) {
	switch mode := r.u32(); mode {
	case 0: // active, memory 0
		constExpr(r, refuse)
	case 1:
		refuse("data segment %d is passive: which ones were dropped can not be saved", i)
	case 2: // active, memory by index
		r.u32()
		constExpr(r, refuse)
	default:
		r.fail(fmt.Errorf("data segment %d: unknown mode %d", i, mode))
		return
	}
	r.bytes(r.u32())
}

// elementSegment walks one segment of the element section. In its mode bit 0
// says not active, bit 1 declarative (if not active) or with a table's index
// (if active), bit 2 expressions instead of function indices.
func elementSegment(r *reader, i uint64, refuse func(string, ...any)) {
	mode := r.u32()
	if mode > 7 {
		r.fail(fmt.Errorf("element segment %d: unknown mode %d", i, mode))
		return
	}
	if mode&1 == 0 {
		if mode&2 != 0 {
			r.u32()
		}
		constExpr(r, refuse)
	} else if mode&2 == 0 {
		refuse("element segment %d is passive: which ones were dropped can not be saved", i)
	}
	if mode&3 != 0 { // element kind or type
		r.byte()
	}
	r.each(func(uint64) {
		if mode&4 != 0 {
			constExpr(r, refuse)
		} else {
			r.u32()
		}
	})
}
