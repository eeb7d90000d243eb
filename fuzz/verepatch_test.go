package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"loomstore/internal/checksum"
	"loomstore/patch"
)

const verePage = 16384

// FuzzVerePatch decides about a vere directory: control.bin as given, memory.bin
// (empty: absent), and an image of imageSize bytes (negative: absent) whose odd
// pages hold what the seeds' patches carry, so that a patch of odd pages looks
// half applied. As a fuzzer does not guess hashes, each input is also tried with
// its header hash made good. As it is slow on long inputs, memory.bin is given
// at a scale of 1:2048 (spread).
func FuzzVerePatch(f *testing.F) {
	for _, s := range vereSeeds() {
		f.Add(s.control, s.memory, s.imageSize)
	}
	// Every truncation and every single-bit flip of one small patch, with and
	// without a trace of it in the image.
	for _, page := range []uint32{2, 3} {
		control, memory := verePatch(4, page)
		for n := range len(control) {
			f.Add(control[:n], memory, int64(4*verePage))
		}
		for bit := range len(control) * 8 {
			flipped := bytes.Clone(control)
			flipped[bit/8] ^= 1 << (bit % 8)
			f.Add(flipped, memory, int64(4*verePage))
		}
	}
	f.Fuzz(func(t *testing.T, control, memory []byte, imageSize int64) {
		memory = spread(memory)
		checkVere(t, control, memory, imageSize)
		if len(control) >= 8 {
			sealed := bytes.Clone(control)
			binary.LittleEndian.PutUint32(sealed[4:], checksum.Sum32(sealed[8:]))
			checkVere(t, sealed, memory, imageSize)
		}
	})
}

// checkVere states what must hold of the decision about any directory.
func checkVere(t *testing.T, control, memory []byte, imageSize int64) {
	files := patch.VereFiles{Control: patch.VereFile{R: bytes.NewReader(control), Size: int64(len(control))}}
	if imageSize >= 0 {
		files.Image = patch.VereFile{R: vereImage{}, Size: imageSize}
	}
	if len(memory) > 0 {
		files.Memory = patch.VereFile{R: bytes.NewReader(memory), Size: int64(len(memory))}
	}
	v, err := patch.DecideVere(files)
	if err != nil {
		t.Fatalf("error without an I/O error: %v", err)
	}
	switch v.Action {
	case patch.VereRefuse:
		var d *patch.Defect
		if !errors.As(v.Err, &d) || d.File == "" || errors.Is(v.Err, patch.ErrDamaged) == errors.Is(v.Err, patch.ErrMismatch) {
			t.Fatalf("refused without a class: %v", v.Err)
		}
		if v.Patch != nil || v.Aside != nil {
			t.Fatalf("refused, but would change the directory: %+v", v)
		}
	case patch.VereImport:
		if v.Patch != nil {
			checkAccepted(t, control, memory, imageSize, v)
		} else if !v.Discarded || len(v.Aside) == 0 || max(imageSize, 0) != v.Pages*verePage {
			t.Fatalf("image of %d bytes accepted without the patch: %+v", imageSize, v)
		}
	default:
		t.Fatalf("control.bin not seen: %+v", v)
	}
}

// checkAccepted reads the files by itself: every hash, every bound.
func checkAccepted(t *testing.T, control, memory []byte, imageSize int64, v patch.VereVerdict) {
	u32 := func(off int) uint32 { return binary.LittleEndian.Uint32(control[off:]) }
	if len(control) < 16 || u32(0) != 2 || u32(4) != checksum.Sum32(control[8:]) || len(control) != 16+8*v.Patch.Len() {
		t.Fatalf("accepted control.bin %x", control)
	}
	if len(memory) < v.Patch.Len()*verePage || imageSize < 0 || v.Pages != int64(u32(8)) {
		t.Fatalf("accepted %d lines over %d bytes, %d pages", v.Patch.Len(), len(memory), v.Pages)
	}
	want := map[int64][]byte{}
	reach := imageSize / verePage
	for i := range v.Patch.Len() {
		page, content := int64(u32(16+8*i)), memory[i*verePage:(i+1)*verePage]
		if want[page] != nil || page >= v.Pages || checksum.Sum32(content) != u32(20+8*i) {
			t.Fatalf("accepted line %d, page %d of %d", i, page, v.Pages)
		}
		want[page], reach = content, max(reach, page+1)
	}
	if v.Pages > reach || v.Pages > patch.VereMaxPages {
		t.Fatalf("accepted %d pages, of which %d exist", v.Pages, reach)
	}
	last, page := int64(-1), make([]byte, verePage)
	for i := range v.Patch.Len() {
		line := v.Patch.Line(i)
		if err := v.Patch.ReadPage(i, page); err != nil || line.Page <= last || !bytes.Equal(page, want[line.Page]) {
			t.Fatalf("line %d: page %d behind %d, error %v", i, line.Page, last, err)
		}
		last = line.Page
	}
}

// spread makes each byte the first of 2048, and so 8 bytes a page.
func spread(b []byte) []byte {
	out := make([]byte, len(b)*verePage/8)
	for i, v := range b {
		out[i*verePage/8] = v
	}
	return out
}

// vereImage is an image of any length that takes no memory.
type vereImage struct{}

func (vereImage) ReadAt(b []byte, off int64) (int, error) {
	if off%verePage != 0 || len(b) != verePage {
		return 0, io.ErrUnexpectedEOF // the reader asks for whole pages only
	}
	page := uint32(off / verePage)
	return copy(b, spread(vereWords(page, page%2))), nil
}

type vereSeed struct {
	control, memory []byte
	imageSize       int64
}

// vereSeeds are small cases of each kind.
func vereSeeds() []vereSeed {
	control, memory := verePatch(4, 1, 2)
	even, evenMemory := verePatch(4, 0, 2)
	vere64 := append(vereWords(2, 0, 6, 0, 1, 0), make([]byte, 16)...)
	huge := vereWords(2, 0, 8, 0x20000001, 1, 0xc2854912) // 16 + 8*count wraps to its length in 32 bits
	seeds := []vereSeed{
		{control, memory, 4 * verePage},
		{control, memory, 3*verePage + 77},
		{control, memory, -1},
		{control, memory[:12], 4 * verePage},
		{control, append(bytes.Clone(memory), 0), 4 * verePage},
		{control, nil, 4 * verePage},
		{even, nil, 4 * verePage},
		{even, evenMemory, 0},
		{vereSealed(huge), memory, 4 * verePage},
		{vereSealed(vere64), nil, 4 * verePage},
		{vereSealed(vereWords(2, 0, 6, 0, 0, 1<<28)), nil, 4 * verePage},
		{vereSealed(vereWords(2, 0, 3, 0)), nil, 4 * verePage},
		{vereSealed(vereWords(2, 0, 0, 0)), nil, 4 * verePage},
		{vereSealed(vereWords(2, 0, 0xffffffff, 0)), nil, 4 * verePage},
		{vereWords(1, 6, 1, 0), nil, 4 * verePage},
		{vereWords(3, 0, 8, 0), nil, 4 * verePage},
		{nil, nil, 4 * verePage},
		{[]byte{2, 0, 0}, nil, 0},
		{control[:20], nil, 4*verePage + 5},
	}
	for _, p := range []struct {
		total uint32
		pages []uint32
	}{
		{4, []uint32{2, 2}}, {4, []uint32{1, 1}}, {4, []uint32{3, 1, 0}}, {8, []uint32{1, 20}}, {12, []uint32{1}}, {4, []uint32{1, 4}},
		{8, []uint32{5, 7}}, {0xffffffff, []uint32{0xfffffffe}}, {1 << 20, []uint32{1<<20 - 1}},
	} {
		control, memory := verePatch(p.total, p.pages...)
		seeds = append(seeds, vereSeed{control, memory, 4 * verePage})
	}
	return seeds
}

// verePatch writes both files of a patch that brings pages to generation 1.
func verePatch(total uint32, pages ...uint32) (control, memory []byte) {
	control = vereWords(2, 0, total, uint32(len(pages)))
	for _, page := range pages {
		content := vereWords(page, 1)
		control = append(control, vereWords(page, checksum.Sum32(spread(content)))...)
		memory = append(memory, content...)
	}
	return vereSealed(control), memory
}

func vereWords(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// vereSealed makes the header hash of a control.bin good.
func vereSealed(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4:], checksum.Sum32(b[8:]))
	return b
}
