package quickjs

import (
	"context"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// value is the guest's address of a JavaScript value, which it keeps alive
// until it is freed.
type value uint32

// call calls an exported function of the engine with one result of 32 bits. An
// error means a trap.
func (vm *VM) call(ctx context.Context, name string, args ...uint64) (value, error) {
	results, err := vm.in.Call(ctx, name, args...)
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return value(results[0]), nil
}

func (vm *VM) free(ctx context.Context, values ...value) error {
	for _, v := range values {
		if _, err := vm.call(ctx, "qjs_free_value", uint64(v)); err != nil {
			return err
		}
	}
	return nil
}

func (vm *VM) newNumber(ctx context.Context, f float64) (value, error) {
	return vm.call(ctx, "qjs_new_number", api.EncodeF64(f))
}

func (vm *VM) number(ctx context.Context, v value) (float64, error) {
	results, err := vm.in.Call(ctx, "qjs_get_float64", uint64(v))
	if err != nil {
		return 0, err
	}
	return api.DecodeF64(results[0]), nil
}

func (vm *VM) newString(ctx context.Context, s string) (v value, err error) {
	err = vm.withBytes(ctx, s, func(p uint32) error {
		v, err = vm.call(ctx, "qjs_new_string", uint64(p), uint64(len(s)))
		return err
	})
	return v, err
}

// withBytes calls f with the address of a copy of s, with a NUL behind it, in
// the guest's heap.
func (vm *VM) withBytes(ctx context.Context, s string, f func(p uint32) error) error {
	p, err := vm.call(ctx, "wasm_malloc", uint64(len(s))+1)
	if err != nil {
		return err
	}
	if p == 0 {
		return errNoMemory
	}
	if memory := vm.in.Memory(); !memory.WriteString(uint32(p), s) || !memory.WriteByte(uint32(p)+uint32(len(s)), 0) {
		return fmt.Errorf("quickjs: guest allocated %d bytes at %#x, out of bounds", len(s)+1, p)
	}
	if err := f(uint32(p)); err != nil {
		return err
	}
	_, err = vm.call(ctx, "wasm_free", uint64(p))
	return err
}

// text returns the string conversion of v, which is not freed.
func (vm *VM) text(ctx context.Context, v value) (string, error) {
	var s string
	err := vm.withBytes(ctx, "\x00\x00\x00\x00", func(length uint32) error {
		p, err := vm.call(ctx, "qjs_get_string_len", uint64(v), uint64(length))
		if err != nil {
			return err
		}
		if p == 0 {
			return errNoMemory
		}
		n, _ := vm.in.Memory().ReadUint32Le(length)
		b, ok := vm.in.Memory().Read(uint32(p), n)
		if !ok {
			return fmt.Errorf("quickjs: string of %d bytes at %#x, out of bounds", n, p)
		}
		s = strings.ToValidUTF8(string(b), "\uFFFD") // lone surrogates
		_, err = vm.call(ctx, "qjs_free_cstring", uint64(p))
		return err
	})
	return s, err
}
