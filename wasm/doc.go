// Package wasm keeps a WebAssembly module's linear memory in a loom, so that
// the module goes on, after a restart, exactly where the last checkpoint was.
//
// It owns the way there and back: the memory allocator that makes the arena the
// module's memory, the check that all of a module's state can be saved, and the
// application record, which holds the state outside the memory and the SHA-256
// of the module. The engine (package loom) owns durability; the caller owns what
// the module means.
//
// Any module will do whose state at rest, with no call on its stack, is its
// memory and its exported mutable globals. Open refuses the others by name: see
// Inspect.
//
// Source: spec/fault.md section 7.
//
// # Application record
//
// All integers are little-endian.
//
//	offset  size  field
//	     0     8  magic "loomwasm"
//	     8     2  version, 1
//	    10     2  g, number of globals
//	    12     2  h, number of host values
//	    14     2  reserved, zero
//	    16    32  SHA-256 of the module's binary
//	    48     8  size of the memory in bytes, a multiple of 65536
//	    56   8·g  mutable globals, in the order of the module
//	     +   8·h  host values: what Config.Init returned
//
// The record ends there, at 1024 bytes at most.
package wasm
