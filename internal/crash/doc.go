// Package crash looks for a crash after which a store breaks its rules
// (DESIGN section 5), by going through the states that a crash can leave.
//
// It drives the production code of image and patch over memfs, which knows what
// is durable, with pages of 256 to 2048 bytes, and of 16 KiB for imports. A
// process does an act (workload.go): create, take checkpoints, close. At every
// operation it makes, and after every acknowledgement, the explorer
// (explore.go)
//
//   - cuts the power: of what was not durable, any part is kept. Names, lengths,
//     pages and blocks each survive, are lost, torn, or in control.bin and
//     sums.bin garbage; by POSIX rules, where names and files are independent,
//     and by those of a journalled file system. Few such units are gone through
//     in every combination, many are sampled, half of the samples sector by
//     sector (states.go);
//   - kills the process, or fails the sync that comes next and then kills it: a
//     new process finds the page cache as it was, recovers, takes a checkpoint,
//     and is itself cut off, killed and failed at each of its operations.
//
// The oracle (oracle.go, ledger.go) is exact: every page is a stream of bytes of
// its own for each attempt at a checkpoint, so what a recovered store holds
// equals the state of one epoch from the last acknowledged to the last begun, or
// it is torn. It must then close, open with nothing to do, and take its next
// checkpoint (R8).
//
// What is seen by an explorer is worth what the explorer would see if there
// were something: a model of vere's protocol in which it must find the windows
// that are known of it, and mutants of ours, each of which it must notice, run
// with it (vere_test.go, mutants.go; the table is in docs/crash-mutants.md).
// Beside it stand the recovery table in every combination (table_test.go),
// damage of every kind (corrupt_test.go), errors at every operation followed by
// power cuts (errors.go), and backups and imports cut off anywhere.
//
// A violation is reported with its seed, the way to it, what was kept, and the
// operations. The same seed finds it again: LOOM_CRASH_SEED=n go test
// ./internal/crash -run TestNoCrashState. LOOM_CRASH_STATES asks for more than
// the 100,000 distinct states of a usual run, LOOM_CRASH_FLIPS for more damage.
//
// What it does not do: real file systems, real processes, the memory of a loom.
package crash
