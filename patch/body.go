package patch

import (
	"fmt"
	"io"

	"loomstore/internal/checksum"
)

// Body is a body whose lines were read and checked.
type Body struct {
	Lines []Line
	r     io.ReaderAt
	first int64 // offset of the first page
	g     Geometry
}

// ReadBody reads the lines of rec's body from memory.bin, whose length is
// size. A *Defect says that the body is bad; any other error that it could
// not be read.
func ReadBody(r io.ReaderAt, size int64, rec *Record, g Geometry) (*Body, error) {
	// A body of 2^48 pages that begins at 2^62 ends beyond the last number:
	// compared is the length, and shown an end that a uint64 has room for (R10).
	length := g.BodyLen(rec.Lines)
	if rec.Lines > 0 && length > size-rec.BodyOffset {
		return nil, &Defect{Class: ErrDamaged, File: MemoryFile, Page: -1, Offset: size,
			Want: fmt.Sprintf("at least %d bytes", uint64(rec.BodyOffset)+uint64(length)), Got: fmt.Sprintf("%d bytes", size),
			Reason: fmt.Sprintf("the body of checkpoint %d is cut off", rec.Epoch)}
	}
	encoded := make([]byte, rec.Lines*lineSize)
	if len(encoded) > 0 {
		if _, err := r.ReadAt(encoded, rec.BodyOffset); err != nil {
			return nil, fmt.Errorf("read the lines of checkpoint %d: %w", rec.Epoch, err)
		}
	}
	lines, err := decodeLines(encoded, rec)
	if err != nil {
		return nil, err
	}
	return &Body{Lines: lines, r: r, first: rec.BodyOffset + g.LinesLen(rec.Lines), g: g}, nil
}

// NewBody describes a body just written, whose lines are known.
func NewBody(r io.ReaderAt, rec *Record, lines []Line, g Geometry) *Body {
	return &Body{Lines: lines, r: r, first: rec.BodyOffset + g.LinesLen(len(lines)), g: g}
}

// PageOffset is where the page of line i lies in memory.bin.
func (b *Body) PageOffset(i int) int64 { return b.first + int64(i)*int64(b.g.PageSize) }

// ReadPages reads the pages of lines [i, i+n) into dst, n pages long, and
// checks each against its line. A wrong page is a *Defect.
func (b *Body) ReadPages(i, n int, dst []byte) error {
	dst = dst[:n*b.g.PageSize]
	if _, err := b.r.ReadAt(dst, b.PageOffset(i)); err != nil {
		return fmt.Errorf("read %d pages of the body in %s at %d: %w", n, MemoryFile, b.PageOffset(i), err)
	}
	for k := range n {
		l := b.Lines[i+k]
		if got := checksum.Sum64(dst[k*b.g.PageSize : (k+1)*b.g.PageSize]); got != l.Hash {
			return &Defect{Class: ErrDamaged, File: MemoryFile, Page: int64(l.Page), Offset: b.PageOffset(i + k),
				Want: hex64(l.Hash), Got: hex64(got), Reason: "hash of a page of the patch"}
		}
	}
	return nil
}

// Find returns the index of the line of page, or false.
func (b *Body) Find(page int) (int, bool) {
	lo, hi := 0, len(b.Lines)
	for lo < hi {
		mid := (lo + hi) / 2
		if b.Lines[mid].Page < page {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(b.Lines) && b.Lines[lo].Page == page
}
