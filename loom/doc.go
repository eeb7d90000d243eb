// Package loom is a crash-safe store for the memory of a program. The program
// keeps its whole state in one arena, a range of memory at a fixed address,
// and changes it with plain stores; Checkpoint makes the state durable. After
// kill -9, power loss, a full disk or a failed fsync, Open gives back exactly
// the state of the last checkpoint that was acknowledged, or of a later one
// that was begun: never a mixture.
//
//	l, err := loom.Open(dir, nil)
//	mem := l.Bytes()                  // change it as you like
//	_, err = l.Checkpoint(ctx)        // returns when that is durable
//	err = l.Close()
//
// # Stopping
//
// Checkpoint, CheckpointAsync, Rollback, Toss, Trim, Unprotect and Close need
// the program stopped: nobody stores into the arena while they run, except
// that CheckpointAsync lets it go on as soon as it returns. Loads are allowed
// beside them, with two exceptions: Rollback, Toss and Trim replace memory and
// Close takes it away; and a checkpoint that shrinks the image leaves alone
// only what is below the new low watermark. All methods may be called from any
// goroutine; those that change the store wait for each other.
//
// # What is kept
//
// The bytes [0, low), low being the low watermark: SetWatermarks sets it, and
// until then it is the end of the highest page ever stored to. Everything else
// is scratch. Pages above the image read as zero after Open and Rollback.
//
// # System calls
//
// With the mprotect tracker a system call that stores into the arena, such as
// os.File.Read, fails with EFAULT unless Touch was called on its range since
// the last checkpoint (fault.ExplainEFAULT). A transfer must not be under way
// during a checkpoint.
//
// What it does not do: find pointers, compress, keep old checkpoints, or
// replicate.
package loom
