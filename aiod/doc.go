// Package aiod does file operations in another process, over shared memory: a
// server and a client for SFS's aiod protocol in both of its wire formats
// (spec sections 1 to 3), and a mode of their own for when both ends are ours.
//
// Serve is a daemon that a libasync client can be given instead of the
// original; Start drives daemons, ours or the original. A Client looks like a
// file system: OpenFile, ReadAt, WriteAt, Sync, Rename, ReadDir and so on. The
// native mode (Options.Native) adds what the protocol has no room for: sealed
// memory, descriptors passed instead of paths opened again, fdatasync, sync
// failures that stay, a root directory, and accepted work that is finished
// although the client was killed (Sequence, Adopt).
//
// What is promised: a request is copied out of shared memory once and
// validated before it is used, and a bad one is answered with an error; the
// death of a daemon fails the requests that it had and no others, and the next
// request finds a new daemon; the client never waits for itself, however many
// requests there are and however little memory.
//
// What is not: order. Requests that are outstanding together are carried out
// in any order; ask for a Sync after the writes have returned, or use a
// Sequence. Nothing is durable before a Sync has succeeded. Cached reads are
// slower than in the own process: see docs/aiod.md for what a helper process
// buys.
//
// # Compatible layout
//
// Integers are little-endian. A message is 8 bytes, the offset of a request in
// the shared file; the reply is the same 8 bytes.
//
//	request          op 0:4  err 4:4 (written on failure only)
//	NOP              nopsize 8:8                                      16 bytes
//	paths            bufsize 8:8  path1 NUL path2 NUL from 16
//	MKDIR            bufsize 8:8  mode 16:4  path from 24
//	file handle      fh 8:8, then mode 16:4 | length 16:8 | pos 16:8 buf 24:8 len 32:8
//	FSTAT            fh 8:8  struct stat from 16
//	aiod_file at fh  handle 0:4  oflags 4:4  dev 8:8  ino 16:8  path NUL from 24
//
// # Native layout
//
// The first page of the memory holds six words: tail, asleep and bell of the
// submission ring at 64, 128 and 192, of the completion ring at 256, 320 and
// 384. Then 256 submissions of 64 bytes from 4096, 256 completions of 32 bytes,
// and the data area from 32768.
//
//	submission  id 0:8  op 8:4  zero 12:4  handle 16:8  off 24:8  buf 32:8  len 40:8  arg 48:8  zero 56:8
//	completion  id 0:8  result 8:8  errno 16:4  zero 20:12
package aiod
