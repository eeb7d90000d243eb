package wasm

import (
	"bytes"
	"fmt"
)

// Sections and external kinds of the binary format.
const (
	sectionCustom  = 0
	sectionImport  = 2
	sectionMemory  = 5
	sectionGlobal  = 6
	sectionExport  = 7
	sectionStart   = 8
	sectionElement = 9
	sectionCode    = 10
	sectionData    = 11
	sectionMax     = 13 // 12: data count, 13: tag

	externFunc   = 0
	externTable  = 1
	externMemory = 2
	externGlobal = 3
)

// Shape is what Inspect found out about a module.
type Shape struct {
	MinPages uint64   // of the memory, in pages of 64 KiB
	Globals  []string // exported names of the mutable globals, in index order
}

type inspector struct {
	shape    Shape
	memories int
	globals  []global
	exports  map[uint64]string // global index → exported name
}

type global struct {
	valueType byte
	mutable   bool
	imported  bool
}

// Inspect checks that the state of a module at rest is its memory and its
// exported mutable globals, and nothing else. It refuses, with an error that
// wraps ErrUnsupported: more than one memory, none, an imported, shared or
// 64-bit one; mutable globals that are imported, not exported, or not numbers;
// instructions that change a table or consume a segment, and the passive
// segments they would consume; atomics and every instruction unknown to it; a
// start section, which would run again at each restart.
//
// bin may be anything: Inspect is bounded by its length. A module that it
// accepts need not be valid; compiling it decides that.
func Inspect(bin []byte) (*Shape, error) {
	in := &inspector{exports: map[uint64]string{}}
	if err := in.module(bin); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return &in.shape, nil
}

func (in *inspector) module(bin []byte) error {
	r := &reader{b: bin}
	if header := r.bytes(8); !bytes.Equal(header, []byte("\x00asm\x01\x00\x00\x00")) {
		return fmt.Errorf("not a WebAssembly 1.0 binary: it begins with %x", header)
	}
	var seen [sectionMax + 1]bool
	for !r.done() {
		id := r.byte()
		if id > sectionMax {
			return fmt.Errorf("unknown section %d", id)
		}
		if id != sectionCustom && seen[id] {
			return fmt.Errorf("second section %d", id)
		}
		seen[id] = true
		s := r.section(r.u32())
		if err := in.section(id, s); err != nil {
			return fmt.Errorf("section %d: %w", id, err)
		}
		if s.err != nil {
			return fmt.Errorf("section %d: %w", id, s.err)
		}
	}
	if r.err != nil {
		return r.err
	}
	return in.finish()
}

func (in *inspector) section(id byte, r *reader) (err error) {
	refuse := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf(format, args...)
		}
	}
	switch id {
	case sectionImport:
		r.each(func(uint64) { in.imported(r, refuse) })
	case sectionMemory:
		r.each(func(uint64) { in.memory(r, refuse) })
	case sectionGlobal:
		r.each(func(uint64) {
			g := global{valueType: r.byte(), mutable: r.byte() == 1}
			in.globals = append(in.globals, g)
			constExpr(r, refuse)
		})
	case sectionExport:
		r.each(func(uint64) {
			name := r.name()
			kind, index := r.byte(), r.u32()
			if kind == externGlobal {
				in.exports[index] = name
			}
		})
	case sectionStart:
		refuse("start function: it would run again at each restart")
	case sectionElement:
		r.each(func(i uint64) { elementSegment(r, i, refuse) })
	case sectionCode:
		r.each(func(i uint64) {
			body := r.section(r.u32())
			functionBody(body, func(format string, args ...any) {
				refuse("function body %d: "+format, append([]any{i}, args...)...)
			})
			if body.err != nil {
				r.fail(fmt.Errorf("function body %d: %w", i, body.err))
			}
		})
	case sectionData:
		r.each(func(i uint64) { dataSegment(r, i, refuse) })
	}
	return err
}

func (in *inspector) imported(r *reader, refuse func(string, ...any)) {
	module, name := r.name(), r.name()
	switch kind := r.byte(); kind {
	case externFunc:
		r.u32()
	case externTable:
		refuse("imported table %s.%s", module, name)
		r.byte()
		limits(r)
	case externMemory:
		refuse("imported memory %s.%s", module, name)
		limits(r)
	case externGlobal:
		in.globals = append(in.globals, global{valueType: r.byte(), mutable: r.byte() == 1, imported: true})
	default:
		refuse("unknown kind %d of import %s.%s", kind, module, name)
		r.fail(fmt.Errorf("unknown import kind %d", kind))
	}
}

func (in *inspector) memory(r *reader, refuse func(string, ...any)) {
	flags, minimum := limits(r)
	if flags > 1 {
		refuse("shared or 64-bit memory (limits flags %#x)", flags)
	}
	in.memories++
	in.shape.MinPages = minimum
}

func limits(r *reader) (flags byte, minimum uint64) {
	flags = r.byte()
	minimum = r.leb(64)
	if flags&1 != 0 {
		r.leb(64)
	}
	return flags, minimum
}

func (in *inspector) finish() error {
	if in.memories != 1 {
		return fmt.Errorf("%d memories, want 1", in.memories)
	}
	for i, g := range in.globals {
		if !g.mutable {
			continue
		}
		name, exported := in.exports[uint64(i)]
		switch {
		case g.imported:
			return fmt.Errorf("mutable global %d is imported", i)
		case !exported:
			return fmt.Errorf("mutable global %d is not exported", i)
		case g.valueType < 0x7c || g.valueType > 0x7f: // i32 i64 f32 f64
			return fmt.Errorf("mutable global %d (%s) has type %#x, not a number", i, name, g.valueType)
		}
		in.shape.Globals = append(in.shape.Globals, name)
	}
	if max := maxValues; len(in.shape.Globals) > max {
		return fmt.Errorf("%d mutable globals, the application record holds %d", len(in.shape.Globals), max)
	}
	return nil
}
