// Package patch is the redo record of a checkpoint: the commit records in
// control.bin, the bodies in memory.bin, and the decision what to do with them
// after a crash. Beside it stand readers for the patches that vere wrote.
//
// All integers are little-endian, everything reserved is zero, and a block
// whose hash or whose reserved bytes are wrong is not a block.
//
// control.bin is exactly 16384 bytes: slot 0 copy A, slot 0 copy B, slot 1
// copy A, slot 1 copy B. The record of an epoch lives in slot epoch&1. One
// copy is a block of 4096 bytes:
//
//	offset size field
//	0      8    magic "LOOMCTL\x00"
//	8      4    version, 1
//	12     4    page size in bytes
//	16     16   store UUID
//	32     8    base epoch
//	40     8    epoch: base+1, or 0 with base 0
//	48     8    old pages: of the image before
//	56     8    new pages: of the image after
//	64     8    low watermark in bytes
//	72     16   old table digest: high half, low half
//	88     16   new table digest
//	104    8    line count
//	112    8    body offset in memory.bin, a multiple of 4096
//	120    8    hash of the lines
//	128    8    rewrite number
//	136    4    length of the application record
//	140    4    reserved
//	144    1024 application record
//	1168   2920 reserved
//	4088   8    hash of bytes [0, 4088)
//
// A body in memory.bin is its lines, {u64 page, u64 hash} in ascending order
// of pages, padded with zeros to a multiple of 4096, and then the pages in the
// same order. Hashes are checksum.Sum64.
//
// The package promises that what it decodes is consistent in itself and inside
// the bounds it was given (R10). It decides (Decide) but never acts: it has no
// policy about files, creates and deletes nothing, and maps nothing.
package patch
