// Package shmread reads and writes the shared-memory segment in which AWS
// ClockBound publishes how far the system clock may be from true time.
//
// A Reader maps the segment and answers two questions: Snapshot, what the
// daemon wrote last; Now, between which two moments true time lies, and
// whether to believe it. A Writer speaks the daemon's side of the protocol. It
// needs no cgo and no daemon to test against.
//
// # Layout
//
// All fields are little-endian here. The header is the same in all versions:
//
//	0   u32 magic 0x414D5A4E
//	4   u32 magic 0x43420200
//	8   u32 segment size
//	12  u16 version
//	14  u16 generation: 0 never written, odd while being written
//
// The body:
//
//	field                         v1   v2   v3 (unverified)
//	as_of_tsc u64                  -    -   16
//	as_of i64 sec, i64 nsec       16   16   24
//	void_after i64 sec, i64 nsec  32   32   40
//	period f64, period_err f64     -    -   56
//	bound_nsec i64                48   48   72
//	disruption_marker u64          -   56   80
//	max_drift_ppb u32             56   64   88
//	clock_status i32              64   68   92
//	disruption support u8          -   72   96
//	size                          72   80  104
//
// # Promises
//
// A record is never a mixture of two updates, and never an old one taken for
// new because the 15-bit count of updates came round. Every field is checked
// once in a private copy. Every wait for another process ends after some 50
// ms. A daemon that truncates the file does not kill the reader's process, and
// a file that is replaced is found again.
//
// # Signals
//
// A page that its file has lost raises SIGBUS. Open puts a handler in front of
// Go's, in assembly, once in the life of the process: where a page of a Reader
// is gone it maps zeros there, which are no record, and the Reader looks at the
// path again. So reads need no protection of their own. Every other SIGBUS goes
// on to the handler found there. A library that puts its own in front
// afterwards is left there, and makes the next Open fail, as it may not pass
// ours on. Options.Unguarded does without all that. A Writer turns faults into
// panics for itself instead, which a -race build can not.
//
// # Differences from the original
//
// Open, Snapshot and Now refuse what the original, at version 2.0.2, reads
// without an error: a file shorter than its segment or VMClock page; a negative
// bound; nanoseconds, a status or a flag out of range; an as_of 136 years from
// boot. Snapshot refuses a record that stays half written, where the original
// returns its last copy, or zeros if it has none. Drift is rounded up. A VMClock
// page whose sequence is 0 is read. A missing file is fs.ErrNotExist. Version 1
// is read where its size is 72. Docs: docs/clock.md.
//
// What this package does not do: discipline a clock, or judge a daemon.
package shmread
