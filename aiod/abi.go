package aiod

import "fmt"

// ABI is one of the two wire formats of SFS's aiod. Nothing on the wire says
// which one is spoken: both ends must have been told (spec section 1).
type ABI int

// The two ABIs.
const (
	ABI1 ABI = 1 // until 2007: no STATVFS, no directories, no MKDIR
	ABI2 ABI = 2 // since 2008
)

// Op is an operation, numbered as in ABI 2.
type Op uint32

// The operations of ABI 2.
const (
	OpNop Op = iota
	OpUnlink
	OpLink
	OpSymlink
	OpRename
	OpReadlink
	OpStat
	OpLstat
	OpGetcwd
	OpStatvfs
	OpOpen
	OpClose
	OpFsync
	OpFtrunc
	OpRead
	OpWrite
	OpFstat
	OpOpendir
	OpReaddir
	OpClosedir
	OpMkdir
	numOps
)

var opNames = [numOps]string{
	"NOP", "UNLINK", "LINK", "SYMLINK", "RENAME", "READLINK", "STAT", "LSTAT", "GETCWD", "STATVFS", "OPEN",
	"CLOSE", "FSYNC", "FTRUNC", "READ", "WRITE", "FSTAT", "OPENDIR", "READDIR", "CLOSEDIR", "MKDIR",
}

// String returns the operation's name in the protocol.
func (op Op) String() string {
	if op < numOps {
		return opNames[op]
	}
	return fmt.Sprintf("op %d", uint32(op))
}

// lastABI1 is FSTAT, the highest number of ABI 1.
const lastABI1 = 15

// decode turns a number from the wire into an operation.
func (a ABI) decode(wire uint32) (Op, bool) {
	op := Op(wire)
	if a == ABI1 {
		if wire > lastABI1 {
			return 0, false
		}
		if op >= OpStatvfs { // STATVFS was inserted here and shifted the rest
			op++
		}
	}
	return op, op < numOps
}

// encode is decode's inverse; false if the ABI has no such operation.
func (a ABI) encode(op Op) (uint32, bool) {
	if a != ABI1 {
		return uint32(op), op < numOps
	}
	switch {
	case op < OpStatvfs:
		return uint32(op), true
	case op > OpStatvfs && op <= OpFstat:
		return uint32(op) - 1, true
	default:
		return 0, false
	}
}
