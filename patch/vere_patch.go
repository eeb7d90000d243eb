package patch

import (
	"fmt"

	"loomstore/internal/checksum"
)

// VerePatch is a committed patch of vere's: lines in ascending order of pages,
// whose contents are read from memory.bin. To apply it, set the image's length
// to Pages()*16384 bytes and write every line's page; pages beyond the old
// length that have no line are zeros. It only reads, and is safe for concurrent
// use if the reader of memory.bin is.
type VerePatch struct {
	control *VereControl
	order   []int // by page: index into control.Lines, which is the place in memory.bin
	memory  VereFile
}

func newVerePatch(c *VereControl, memory VereFile) *VerePatch {
	return &VerePatch{control: c, order: c.order(), memory: memory}
}

// Pages is the page count of the image after the patch.
func (p *VerePatch) Pages() int64 { return p.control.Pages }

// Len is the number of lines.
func (p *VerePatch) Len() int { return len(p.order) }

// Line returns line i in ascending order of pages.
func (p *VerePatch) Line(i int) VereLine { return p.control.Lines[p.order[i]] }

// ReadPage reads the page of line i, 16384 bytes, into dst and checks its hash.
// If that or memory.bin's length is wrong, the error is a *Defect of class
// ErrDamaged and dst must not be used. A dst of another length panics.
func (p *VerePatch) ReadPage(i int, dst []byte) error {
	if len(dst) != verePageSize {
		panic(fmt.Sprintf("patch: a page is %d bytes, not %d", verePageSize, len(dst)))
	}
	defect, err := p.load(p.order[i], dst)
	if err != nil {
		return err
	}
	if defect != nil {
		return defect
	}
	return nil
}

// verify reads every page once, in the order of memory.bin.
func (p *VerePatch) verify() (*Defect, error) {
	page := make([]byte, verePageSize)
	for slot := range p.control.Lines {
		if defect, err := p.load(slot, page); defect != nil || err != nil {
			return defect, err
		}
	}
	return nil, nil
}

// load reads the page at a place of memory.bin. What is wrong with the page is
// a Defect; what went wrong while reading it is an error.
func (p *VerePatch) load(slot int, dst []byte) (*Defect, error) {
	off := int64(slot) * verePageSize
	if p.memory.absent() {
		return p.bad(slot, fmt.Sprintf("%d bytes", int64(p.Len())*verePageSize), "no file", "missing beside control.bin"), nil
	}
	if have := p.memory.Size - off; have < verePageSize {
		return p.bad(slot, fmt.Sprintf("%d bytes", verePageSize), fmt.Sprintf("%d bytes", max(have, 0)), "ends inside the patch"), nil
	}
	if err := p.memory.readFull(MemoryFile, dst, off); err != nil {
		return nil, err
	}
	if want, got := p.control.Lines[slot].Hash, checksum.Sum32(dst); got != want {
		return p.bad(slot, vereHex(want), vereHex(got), "wrong page hash"), nil
	}
	return nil, nil
}

func (p *VerePatch) bad(slot int, want, got, reason string) *Defect {
	return &Defect{Class: ErrDamaged, File: MemoryFile, Page: p.control.Lines[slot].Page, Offset: int64(slot) * verePageSize,
		Want: want, Got: got, Reason: reason}
}

// vereApplied reports whether the image is what the patch makes of it: its
// length, and every page of a line. A power cut that keeps vere's removal of
// memory.bin and loses the one of control.bin leaves that.
func vereApplied(image VereFile, c *VereControl) (bool, error) {
	if image.Size != c.Pages*verePageSize {
		return false, nil
	}
	page := make([]byte, verePageSize)
	for _, line := range c.Lines {
		if err := image.readFull(ImageFile, page, line.Page*verePageSize); err != nil {
			return false, err
		}
		if checksum.Sum32(page) != line.Hash {
			return false, nil
		}
	}
	return true, nil
}

// vereTrace looks for signs that the patch was already being applied: the
// image ends inside a page, or holds a page that hashes to a line's value. The
// text names the sign; it is empty if there is none. Each page is hashed once,
// however many lines name it.
func vereTrace(image VereFile, c *VereControl) (string, error) {
	if image.Size%verePageSize != 0 {
		return "image.bin ends inside a page", nil
	}
	page := make([]byte, verePageSize)
	hashed, hash := int64(-1), uint32(0)
	for _, slot := range c.order() {
		line := c.Lines[slot]
		if line.Page >= image.wholePages() {
			break
		}
		if line.Page != hashed {
			if err := image.readFull(ImageFile, page, line.Page*verePageSize); err != nil {
				return "", err
			}
			hashed, hash = line.Page, checksum.Sum32(page)
		}
		if hash == line.Hash {
			return fmt.Sprintf("image.bin already holds its page %d", line.Page), nil
		}
	}
	return "", nil
}
