package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"loomstore/internal/checksum"
)

// vereDir is a vere directory in memory; nil bytes mean an absent file.
type vereDir struct {
	image, control, memory []byte
	north, south           bool
}

func (d vereDir) files() VereFiles {
	return VereFiles{Image: vereMem(d.image), Control: vereMem(d.control), Memory: vereMem(d.memory),
		North: d.north, South: d.south}
}

func vereMem(b []byte) VereFile {
	if b == nil {
		return VereFile{}
	}
	return VereFile{R: bytes.NewReader(b), Size: int64(len(b))}
}

// verePage is the content of a page in a generation: different for each pair.
func verePage(page, generation int) []byte {
	b := make([]byte, verePageSize)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(page)<<40|uint64(generation)<<32|uint64(i))
	}
	return b
}

// vereImage is an image of whole pages, each of the generation given for it.
func vereImage(generations ...int) []byte {
	image := []byte{}
	for page, generation := range generations {
		image = append(image, verePage(page, generation)...)
	}
	return image
}

// vereControl writes a control.bin with a good header hash, whatever the lines say.
func vereControl(pages uint32, lines ...VereLine) []byte {
	b := binary.LittleEndian.AppendUint32(nil, vereVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, pages)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(lines)))
	for _, l := range lines {
		b = binary.LittleEndian.AppendUint32(b, uint32(l.Page))
		b = binary.LittleEndian.AppendUint32(b, l.Hash)
	}
	return vereSeal(b)
}

// vereSeal makes the header hash of a control.bin good.
func vereSeal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4:], checksum.Sum32(b[8:]))
	return b
}

// verePatch writes both files of a patch that brings pages to generation 1.
func verePatch(total uint32, pages ...int) (control, memory []byte) {
	memory = []byte{}
	var lines []VereLine
	for _, page := range pages {
		content := verePage(page, 1)
		memory = append(memory, content...)
		lines = append(lines, VereLine{Page: int64(page), Hash: checksum.Sum32(content)})
	}
	return vereControl(total, lines...), memory
}

// vere64Control writes a control.bin as the branch vere64 does.
func vere64Control(total, count uint64, pages ...int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, vereVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, total)
	b = binary.LittleEndian.AppendUint64(b, count)
	for _, page := range pages {
		b = binary.LittleEndian.AppendUint64(b, uint64(page))
		b = binary.LittleEndian.AppendUint64(b, uint64(checksum.Sum32(verePage(page, 1))))
	}
	return vereSeal(b)
}

// with returns a copy of b, changed.
func with(b []byte, change func([]byte)) []byte {
	b = bytes.Clone(b)
	change(b)
	return b
}

// decideVere decides and checks what must hold of every verdict.
func decideVere(t *testing.T, d vereDir) VereVerdict {
	t.Helper()
	v, err := DecideVere(d.files())
	if err != nil {
		t.Fatalf("DecideVere: %v", err)
	}
	if v.Reason == "" {
		t.Errorf("no reason given")
	}
	if (v.Err != nil) != (v.Action == VereRefuse) {
		t.Errorf("action %v with error %v", v.Action, v.Err)
	}
	if v.Action != VereImport {
		if v.Patch != nil || v.Aside != nil || v.Discarded {
			t.Errorf("action %v would change the directory: %+v", v.Action, v)
		}
		return v
	}
	if v.Patch != nil {
		if v.Aside != nil || v.Discarded || v.Pages != v.Patch.Pages() {
			t.Errorf("patch accepted and set aside: %+v", v)
		}
		checkVerePatch(t, d, v.Patch)
		return v
	}
	// Without a patch every file of one is set aside, and the image is whole.
	var aside []string
	if d.control != nil {
		aside = append(aside, "control.bin")
	}
	if d.memory != nil {
		aside = append(aside, "memory.bin")
	}
	if !slices.Equal(v.Aside, aside) || v.Discarded != (d.control != nil && !d.holdsAll()) {
		t.Errorf("aside %q, discarded %v; there were %q", v.Aside, v.Discarded, aside)
	}
	if int64(len(d.image)) != v.Pages*verePageSize {
		t.Errorf("image of %d bytes accepted as %d pages", len(d.image), v.Pages)
	}
	return v
}

// checkVerePatch reads an accepted patch against the bytes of the files.
func checkVerePatch(t *testing.T, d vereDir, p *VerePatch) {
	t.Helper()
	c, le := d.control, binary.LittleEndian
	if le.Uint32(c) != 2 || le.Uint32(c[4:]) != checksum.Sum32(c[8:]) {
		t.Fatalf("accepted a control.bin without a good header: %x", c)
	}
	if p.Pages() != int64(le.Uint32(c[8:])) || p.Len() != int(le.Uint32(c[12:])) || len(c) != 16+8*p.Len() {
		t.Fatalf("accepted %d pages, %d lines: %x", p.Pages(), p.Len(), c)
	}
	last, page := int64(-1), make([]byte, verePageSize)
	for i := range p.Len() {
		line := p.Line(i)
		if line.Page <= last || line.Page >= p.Pages() {
			t.Fatalf("accepted page %d behind page %d of %d pages", line.Page, last, p.Pages())
		}
		last = line.Page
		if err := p.ReadPage(i, page); err != nil {
			t.Fatalf("ReadPage(%d): %v", i, err)
		}
		if checksum.Sum32(page) != line.Hash {
			t.Fatalf("accepted page %d, whose hash is wrong", line.Page)
		}
	}
	if p.Pages() > max(last+1, int64(len(d.image))/verePageSize) {
		t.Fatalf("accepted %d pages, which nothing supplies", p.Pages())
	}
}

// applyVere returns the image after the import.
func applyVere(t *testing.T, image []byte, v VereVerdict) []byte {
	t.Helper()
	if v.Patch == nil {
		return image
	}
	out := make([]byte, v.Pages*verePageSize)
	copy(out, image)
	for i := range v.Patch.Len() {
		off := v.Patch.Line(i).Page * verePageSize
		if err := v.Patch.ReadPage(i, out[off:off+verePageSize]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// holdsAll tells whether a sound control.bin has nothing to add to the image:
// its patch is not given up, but done.
func (d vereDir) holdsAll() bool {
	c, err := ParseVereControl(d.control)
	if err != nil || int64(len(d.image)) != c.Pages*verePageSize {
		return false
	}
	return !slices.ContainsFunc(c.Lines, func(l VereLine) bool {
		return checksum.Sum32(d.image[l.Page*verePageSize:(l.Page+1)*verePageSize]) != l.Hash
	})
}

// vereOutcome is what loomctl recover calls a verdict, and its exit code.
func vereOutcome(t *testing.T, v VereVerdict) (action string, exit int) {
	t.Helper()
	switch {
	case v.Action == VereNone:
		return "none", 10
	case v.Action == VereRefuse && errors.Is(v.Err, ErrMismatch):
		return "refused", 12
	case v.Action == VereRefuse && errors.Is(v.Err, ErrDamaged):
		return "refused", 3
	case v.Action == VereImport && v.Discarded:
		return "discarded", 0
	case v.Action == VereImport:
		return "imported", 0
	}
	t.Fatalf("no outcome for %+v", v)
	return "", 0
}
