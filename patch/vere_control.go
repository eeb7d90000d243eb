package patch

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"loomstore/internal/checksum"
)

// VereControl is a control.bin of vere's patch version 2. All integers are
// little-endian (spec/vere.md section 2):
//
//	offset size field
//	0      4    version, 2
//	4      4    hash of bytes [8, end of file)
//	8      4    pages of the image after the patch
//	12     4    line count
//	16+8i  4    line i: page number, in any order
//	20+8i  4    line i: hash of page i of memory.bin
//
// Hashes are checksum.Sum32. The file ends behind the last line.
type VereControl struct {
	Pages int64      // of the image after the patch, in [1, VereMaxPages]
	Lines []VereLine // line i is for page i of memory.bin; pages unique and below Pages
}

// VereLine says where a page of memory.bin belongs and what it hashes to.
type VereLine struct {
	Page int64
	Hash uint32
}

// ParseVereControl decodes a whole control.bin and checks everything that can
// be checked without the other files. The error is a *Defect of class
// ErrMismatch (another version, or vere64), ErrVereUncommitted (a wrong
// length) or ErrDamaged. It keeps no reference to b.
func ParseVereControl(b []byte) (*VereControl, error) {
	if d := vereForm(b); d != nil {
		return nil, d
	}
	c := decodeVereControl(b)
	if d := c.check(b); d != nil {
		return nil, d
	}
	return c, nil
}

// vereForm tells by version and length whether b is a complete control.bin of
// version 2. Nothing that other code wrote is taken for an uncommitted patch.
func vereForm(b []byte) *Defect {
	size := int64(len(b))
	if size < 4 {
		return vereUncommitted(size, fmt.Sprintf("at least %d bytes", vereHeaderSize))
	}
	// A power cut in vere's save can keep the length and lose the bytes. Only a
	// control.bin that was never synced has a first sector of zeros, and vere
	// touches the image only behind that sync.
	if allZero(b[:min(size, 512)]) {
		return vereUncommitted(size, "a header, not zeros")
	}
	if v := binary.LittleEndian.Uint32(b); v != vereVersion {
		return mismatch(ControlFile, "patch of another version", "version 2", fmt.Sprintf("version %d", v))
	}
	if size < vereHeaderSize {
		return vereUncommitted(size, fmt.Sprintf("at least %d bytes", vereHeaderSize))
	}
	want := vereHeaderSize + vereLineSize*int64(binary.LittleEndian.Uint32(b[12:]))
	if size == want {
		return nil
	}
	if isVere64(b) {
		return mismatch(ControlFile, "patch of another layout", "vere, 32 bits", "vere64")
	}
	return vereUncommitted(size, fmt.Sprintf("%d bytes", want))
}

// isVere64 recognises the control.bin of the branch vere64: u64 fields, line
// count at 16, lines of 16 bytes. The count is compared with what the length
// leaves room for, which can not overflow.
func isVere64(b []byte) bool {
	if len(b) < vere64HeaderSize || (len(b)-vere64HeaderSize)%vere64LineSize != 0 {
		return false
	}
	room := uint64(len(b)-vere64HeaderSize) / vere64LineSize
	return binary.LittleEndian.Uint64(b[16:]) == room && vereHeaderHash(b) == checksum.Sum32(b[8:])
}

func vereHeaderHash(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:]) }

// decodeVereControl reads the fields of a control.bin of the right form. Until
// check has passed, they are evidence and not to be followed.
func decodeVereControl(b []byte) *VereControl {
	c := &VereControl{
		Pages: int64(binary.LittleEndian.Uint32(b[8:])),
		Lines: make([]VereLine, (len(b)-vereHeaderSize)/vereLineSize),
	}
	for i := range c.Lines {
		l := b[vereHeaderSize+i*vereLineSize:]
		c.Lines[i] = VereLine{
			Page: int64(binary.LittleEndian.Uint32(l)),
			Hash: binary.LittleEndian.Uint32(l[4:]),
		}
	}
	return c
}

// check finds what is wrong with a control.bin of the right form: header hash,
// page count, page numbers.
func (c *VereControl) check(b []byte) *Defect {
	if want, got := vereHeaderHash(b), checksum.Sum32(b[8:]); want != got {
		return &Defect{Class: ErrDamaged, File: ControlFile, Page: -1, Offset: 4,
			Want: vereHex(want), Got: vereHex(got), Reason: "wrong header hash"}
	}
	// vere has its home road in page 0: an image without pages is not its own.
	if c.Pages < 1 || c.Pages > VereMaxPages {
		return &Defect{Class: ErrDamaged, File: ControlFile, Page: -1, Offset: 8,
			Want: fmt.Sprintf("1 to %d pages", VereMaxPages), Got: fmt.Sprintf("%d pages", c.Pages),
			Reason: "impossible page count"}
	}
	for i, l := range c.Lines {
		if l.Page >= c.Pages {
			return c.badLine(i, fmt.Sprintf("a page below %d", c.Pages), "line beyond the page count")
		}
	}
	order := c.order()
	for i := 1; i < len(order); i++ {
		if c.Lines[order[i-1]].Page == c.Lines[order[i]].Page {
			return c.badLine(order[i], "each page once", "second line for a page")
		}
	}
	return nil
}

// suppliedBy checks that the new page count comes from somewhere: the image
// reaches that far, or the last page has a line. Pages between the two without
// a line are legal holes: vere leaves free pages out of its patches.
func (c *VereControl) suppliedBy(imagePages int64) *Defect {
	reach := imagePages
	for _, l := range c.Lines {
		reach = max(reach, l.Page+1)
	}
	if c.Pages <= reach {
		return nil
	}
	return &Defect{Class: ErrDamaged, File: ControlFile, Page: c.Pages - 1, Offset: 8,
		Want: fmt.Sprintf("at most %d pages", reach), Got: fmt.Sprintf("%d pages", c.Pages),
		Reason: "page count beyond both image and patch"}
}

// order returns the lines' indices by ascending page, and by index within one
// page.
func (c *VereControl) order() []int {
	order := make([]int, len(c.Lines))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(c.Lines[a].Page, c.Lines[b].Page)
	})
	return order
}

func (c *VereControl) badLine(i int, want, reason string) *Defect {
	page := c.Lines[i].Page
	return &Defect{Class: ErrDamaged, File: ControlFile, Page: page, Offset: vereHeaderSize + int64(i)*vereLineSize,
		Want: want, Got: fmt.Sprintf("page %d", page), Reason: reason}
}

func vereUncommitted(size int64, want string) *Defect {
	return &Defect{Class: ErrVereUncommitted, File: ControlFile, Page: -1, Offset: -1,
		Want: want, Got: fmt.Sprintf("%d bytes", size), Reason: "wrong length: the patch was never committed"}
}

func vereHex(v uint32) string { return fmt.Sprintf("%08x", v) }
