package patch

// Names of the files in a store's directory.
const (
	ControlFile = "control.bin"
	MemoryFile  = "memory.bin"
	ImageFile   = "image.bin"
	SumsFile    = "sums.bin"
)

// BlockSize is the size of a commit record and of a header, and the alignment
// of bodies: the largest unit that a disk may tear.
const BlockSize = 4096

// ControlSize is the length of control.bin.
const ControlSize = 4 * BlockSize

// MaxAppRecord is the most bytes of application record a checkpoint carries.
const MaxAppRecord = 1024

// maxPages bounds page numbers so that byte offsets fit in an int64 (R10).
const maxPages = 1 << 48

// Geometry is what differs between a real store and the small ones that the
// crash explorer builds by the million.
type Geometry struct {
	PageSize int // bytes, a power of two, at least 64
}

// Standard is the geometry of every real store: pages of 16 KiB.
var Standard = Geometry{PageSize: 16384}

// LinesLen is the length of n lines with their padding.
func (g Geometry) LinesLen(n int) int64 {
	return (int64(n)*lineSize + BlockSize - 1) &^ (BlockSize - 1)
}

// BodyLen is the length of a body of n pages.
func (g Geometry) BodyLen(n int) int64 {
	return g.LinesLen(n) + int64(n)*int64(g.PageSize)
}

// Place returns where a body of length bytes goes, given where the newest
// record's body lies: at the front if it ends before that one begins, else
// right behind it. So the newest body is never overwritten.
func Place(length, newestOff, newestLen int64) int64 {
	if newestLen == 0 || length <= newestOff {
		return 0
	}
	return (newestOff + newestLen + BlockSize - 1) &^ (BlockSize - 1)
}
