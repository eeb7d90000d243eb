package wasm

import (
	"github.com/tetratelabs/wazero/experimental"

	"loomstore/loom"
)

// maxMemory is one page short of what WebAssembly allows: wazero reports the
// size of a memory as a uint32 of bytes.
const maxMemory = 65535 * wasmPage

// linearMemory is an arena as the linear memory of one instance.
type linearMemory struct {
	loom *loom.Loom
	// scratch makes the next Reallocate return ordinary memory. Instantiation
	// writes the data segments into what it gets first; at a restore that must
	// not be the arena, which already holds what became of them.
	scratch bool
}

func (m *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate returns the first n bytes of the arena, at the same address each
// time; nil, and so a memory.grow that fails, where the arena ends: a guard
// page could not be recovered from inside compiled code (spec/fault.md 2.6).
// It moves the low watermark first: memory is announced before it is stored to.
func (m *linearMemory) Reallocate(n uint64) []byte {
	if m.scratch {
		m.scratch = false
		return make([]byte, n)
	}
	mem := m.loom.Bytes()
	if n > capacity(mem) {
		return nil
	}
	if m.loom.SetWatermarks(int64(n), int64(len(mem))) != nil {
		return nil
	}
	return mem[:n:n]
}

func (m *linearMemory) Free() {}

// capacity returns how much of an arena can be linear memory.
func capacity(arena []byte) uint64 {
	return min(uint64(len(arena))/wasmPage*wasmPage, maxMemory)
}
