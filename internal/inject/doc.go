// Package inject tests the engine from outside: as the program that is shipped,
// through what it asks of the kernel. It holds tests only; they need strace and
// the permission to trace, and say so where that is missing.
//
// Two things are shown. The system calls of a creation, a checkpoint, a growth,
// a shrink, a recovery, a backup and an import are, one for one, the operations
// that image/testdata has frozen: nothing bypasses internal/vfs (R7). And
// whatever error the kernel returns for whichever of these calls, or at
// whichever of them the process dies, loomctl says so, acknowledges nothing
// that is not durable, deletes nothing, and the next Open has a state between
// the acknowledged and the begun one, byte for byte.
//
// What it does not do: cut the power. An injected error leaves the page cache
// as it was, so whether an acknowledgement was true is judged by the trace: no
// acknowledgement and no byte of image.bin before every sync that it needs has
// succeeded behind the last write. What a power cut leaves is the business of
// package crash.
package inject
