// Package quickjs runs the JavaScript engine QuickJS (npm package quickjs-wasi)
// with its whole heap in a loom.
//
// It owns the engine's calling conventions, the host functions that the engine
// imports, and prelude.js, which gives scripts console, checkpoint and epoch.
// What an input is, when a checkpoint is taken and where output goes belongs to
// the caller; keeping the memory belongs to package wasm.
//
// # checkpoint()
//
// No checkpoint may be taken while a guest call is on the stack, so
// checkpoint() returns a promise. The host takes the checkpoint before the next
// job runs, while the promise is still pending, and fulfils it afterwards with
// the epoch. The checkpoint therefore holds the script in the middle of its
// await: when it is restored, Open fulfils the promise with the same epoch, and
// the script goes on behind its await, not from its start.
package quickjs
