package patch

import (
	"encoding/binary"
	"fmt"
)

// VereAction is what to do with a vere directory.
type VereAction int

const (
	VereNone   VereAction = iota // there is no snapshot here
	VereImport                   // take the image, with the patch if there is one
	VereRefuse                   // change nothing
)

func (a VereAction) String() string {
	switch a {
	case VereNone:
		return "none"
	case VereImport:
		return "import"
	case VereRefuse:
		return "refuse"
	}
	return fmt.Sprintf("VereAction(%d)", int(a))
}

// VereVerdict is the decision about a vere directory.
type VereVerdict struct {
	Action    VereAction
	Pages     int64      // pages of the image after the import
	Patch     *VerePatch // to be applied, already verified; nil if there is none
	Aside     []string   // files to be renamed aside before anything else
	Discarded bool       // a patch that was never applied is among them
	Err       error      // on VereRefuse: a *Defect of class ErrDamaged or ErrMismatch
	Reason    string     // one line for the reader
}

// DecideVere decides what a vere directory that is not a store of ours holds,
// without changing anything (DESIGN.md section 4, "vere directories"; the
// numbers below are its steps). An error means that a file could not be read:
// then nothing is known and nothing may be changed, as only absence is absence.
//
// A caller that was told to give up a damaged patch decides again with Control
// and Memory absent.
func DecideVere(f VereFiles) (VereVerdict, error) {
	switch { // steps 1 and 3; step 2 is the caller's: a store of ours never gets here
	case f.Image.absent() && f.Control.absent() && f.Memory.absent() && !f.North:
		return VereVerdict{Action: VereNone, Reason: "no image.bin, control.bin, memory.bin or north.bin"}, nil
	case f.North || f.South:
		return f.refuseOldLayout()
	case f.Image.absent() && f.Control.Size > 0:
		return vereRefuse(&Defect{Class: ErrDamaged, File: ImageFile, Page: -1, Offset: -1,
			Want: "the image that control.bin is for", Got: "no file", Reason: "patch without an image"}), nil
	case f.Control.absent():
		return f.decideImage(), nil // step 4
	}
	return f.decidePatch()
}

// refuseOldLayout names the version as exactly as control.bin allows.
func (f VereFiles) refuseOldLayout() (VereVerdict, error) {
	version := "0 or 1"
	if !f.Control.absent() && f.Control.Size >= 20 {
		head := make([]byte, 20)
		if err := f.Control.readFull(ControlFile, head, 0); err != nil {
			return VereVerdict{}, err
		}
		// Version 0 has an event number where the others have the version.
		switch {
		case binary.LittleEndian.Uint32(head) == 1 && f.Control.Size == 16+8*int64(binary.LittleEndian.Uint32(head[12:])):
			version = "1"
		case f.Control.Size == 24+8*int64(binary.LittleEndian.Uint32(head[16:])):
			version = "0"
		}
	}
	file := "north.bin"
	if !f.North {
		file = "south.bin"
	}
	return vereRefuse(mismatch(file, "image of an old layout; let vere 4 migrate it first",
		"image.bin, version 2", "version "+version)), nil
}

// decideImage is step 4: the image alone. It carries no checksum, so its
// length is all that can be wrong with it.
func (f VereFiles) decideImage() VereVerdict {
	if rest := f.Image.Size % verePageSize; rest != 0 {
		return vereRefuse(&Defect{Class: ErrDamaged, File: ImageFile, Page: f.Image.wholePages(), Offset: f.Image.Size - rest,
			Want: fmt.Sprintf("%d bytes", verePageSize), Got: fmt.Sprintf("%d bytes", rest), Reason: "image ends inside a page"})
	}
	v := VereVerdict{Action: VereImport, Pages: f.Image.wholePages(), Aside: f.asideFiles(), Reason: "image without a patch"}
	if !f.Memory.absent() {
		v.Reason = "image with a leftover memory.bin: its patch is applied or was never committed"
	}
	return v
}

// decidePatch is steps 5 and 6: there is a control.bin.
func (f VereFiles) decidePatch() (VereVerdict, error) {
	control, err := f.loadControl()
	if err != nil {
		return VereVerdict{}, err
	}
	if control == nil {
		return vereRefuse(mismatch(ControlFile, "too long for a patch of version 2",
			fmt.Sprintf("at most %d bytes", vereMaxControl), fmt.Sprintf("%d bytes", f.Control.Size))), nil
	}
	if d := vereForm(control); d != nil {
		if d.Class == ErrMismatch {
			return vereRefuse(d), nil
		}
		return f.discard(d), nil
	}
	c := decodeVereControl(control)
	d := c.check(control)
	sound := d == nil // control.bin says what the image is to be
	if d == nil {
		d = c.suppliedBy(f.Image.wholePages())
	}
	p := newVerePatch(c, f.Memory)
	if d == nil {
		if d, err = p.verify(); err != nil {
			return VereVerdict{}, err
		}
	}
	if d == nil {
		return VereVerdict{Action: VereImport, Pages: p.Pages(), Patch: p,
			Reason: fmt.Sprintf("image with a committed patch of %d pages", p.Len())}, nil
	}
	if sound {
		applied, err := vereApplied(f.Image, c)
		if err != nil {
			return VereVerdict{}, err
		}
		if applied {
			return VereVerdict{Action: VereImport, Pages: c.Pages, Aside: f.asideFiles(),
				Reason: "the image holds all of the patch, of which only a part is left"}, nil
		}
	}
	// The patch is unusable. It may go only if applying it can not have begun.
	trace, err := vereTrace(f.Image, c)
	if err != nil {
		return VereVerdict{}, err
	}
	if trace != "" {
		d.Reason += ", and the image is torn: " + trace
		return vereRefuse(d), nil
	}
	return f.discard(d), nil
}

// loadControl reads control.bin, or returns nil if it is too long to be loaded.
func (f VereFiles) loadControl() ([]byte, error) {
	if f.Control.Size > vereMaxControl {
		return nil, nil
	}
	b := make([]byte, f.Control.Size)
	return b, f.Control.readFull(ControlFile, b, 0)
}

// discard goes on without a patch that was never applied, if the image by
// itself is acceptable.
func (f VereFiles) discard(d *Defect) VereVerdict {
	v := f.decideImage()
	if v.Action == VereImport {
		v.Discarded = true
		v.Reason = "patch set aside, the image shows no trace of it: " + d.Error()
	}
	return v
}

// asideFiles names what is there of a patch that will not be applied.
func (f VereFiles) asideFiles() []string {
	var names []string
	if !f.Control.absent() {
		names = append(names, ControlFile)
	}
	if !f.Memory.absent() {
		names = append(names, MemoryFile)
	}
	return names
}

func vereRefuse(d *Defect) VereVerdict {
	return VereVerdict{Action: VereRefuse, Err: d, Reason: d.Reason}
}
