package aiod

import "encoding/binary"

// struct stat of arm64 (asm-generic/stat.h).
const (
	statSize    = 128
	statDev     = 0
	statIno     = 8
	statMode    = 16
	statUID     = 24
	statGID     = 28
	statRdev    = 32
	statLength  = 48
	statBlksize = 56
	statBlocks  = 64
	statTimes   = 72
)

func putNlink(b []byte, n uint64) { binary.LittleEndian.PutUint32(b[20:], uint32(n)) }
func nlink(b []byte) uint64       { return uint64(binary.LittleEndian.Uint32(b[20:])) }
