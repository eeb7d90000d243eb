// Package image is a store on disk: image.bin, the state of the last applied
// checkpoint, sums.bin, which says what it should be, and the protocol that
// moves them from one checkpoint to the next (DESIGN sections 4 and 5).
//
// A checkpoint passes through three calls of a Store:
//
//	Stage   reserve the space, write the body to memory.bin, sync it
//	Commit  write the record to control.bin, sync it: the commit point
//	Apply   write the pages to image.bin and their hashes to sums.bin, sync both
//
// and Open does after a crash what patch.Decide says. The package promises
// rules R1 to R6 and R8 to R10 for every file system that keeps what package
// vfs says of it.
//
// sums.bin begins with two header slots, epoch&1, of 4096 bytes:
//
//	offset size field
//	0      8    magic "LOOMSUM\x00"
//	8      4    version, 1
//	12     4    page size in bytes
//	16     16   store UUID
//	32     8    epoch
//	40     8    pages
//	48     8    low watermark in bytes
//	56     16   table digest: high half, low half
//	72     4    flags: bit 0 CLEAN, closed in order
//	76     4    length of the application record
//	80     1024 application record
//	1104   2984 reserved
//	4088   8    hash of bytes [0, 4088)
//
// and from byte 8192 on holds 8 bytes a page: its hash. A page never written
// has the hash of a zero page.
//
// What the package does not do: map memory, find dirty pages, decide when to
// apply. A Store's Stage and Commit are for one goroutine; Apply may run beside
// the Stage of the next checkpoint.
package image
