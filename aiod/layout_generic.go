//go:build !arm64

package aiod

import "encoding/binary"

// struct stat of x86-64 (spec section 1).
const (
	statSize    = 144
	statDev     = 0
	statIno     = 8
	statMode    = 24
	statUID     = 28
	statGID     = 32
	statRdev    = 40
	statLength  = 48
	statBlksize = 56
	statBlocks  = 64
	statTimes   = 72
)

func putNlink(b []byte, n uint64) { binary.LittleEndian.PutUint64(b[16:], n) }
func nlink(b []byte) uint64       { return binary.LittleEndian.Uint64(b[16:]) }
