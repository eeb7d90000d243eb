package patch

import (
	"encoding/binary"
	"fmt"

	"loomstore/internal/checksum"
)

// Line says that a body holds a page, and what that page hashes to.
type Line struct {
	Page int
	Hash uint64
}

const lineSize = 16

// EncodeLines appends the lines as they lie in a body, without padding.
func EncodeLines(dst []byte, lines []Line) []byte {
	for _, l := range lines {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Page))
		dst = binary.LittleEndian.AppendUint64(dst, l.Hash)
	}
	return dst
}

// LinesHash is the hash of encoded lines that a record carries.
func LinesHash(encoded []byte) uint64 { return checksum.Sum64(encoded) }

// decodeLines reads and checks lines: ascending, below the record's new pages,
// with the record's hash.
func decodeLines(encoded []byte, rec *Record) ([]Line, error) {
	if got := LinesHash(encoded); got != rec.LinesHash {
		return nil, &Defect{Class: ErrDamaged, File: MemoryFile, Page: -1, Offset: rec.BodyOffset,
			Want: hex64(rec.LinesHash), Got: hex64(got), Reason: fmt.Sprintf("hash of the lines of checkpoint %d", rec.Epoch)}
	}
	lines := make([]Line, len(encoded)/lineSize)
	prev := -1
	for i := range lines {
		at := encoded[i*lineSize:]
		page := binary.LittleEndian.Uint64(at)
		if page >= uint64(rec.NewPages) || int(page) <= prev {
			return nil, &Defect{Class: ErrDamaged, File: MemoryFile, Page: -1, Offset: rec.BodyOffset + int64(i*lineSize),
				Want: fmt.Sprintf("a page above %d and below %d", prev, rec.NewPages), Got: fmt.Sprint(page), Reason: "page number of a line"}
		}
		prev = int(page)
		lines[i] = Line{Page: prev, Hash: binary.LittleEndian.Uint64(at[8:])}
	}
	return lines, nil
}

func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }
