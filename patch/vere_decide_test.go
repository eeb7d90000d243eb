package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"loomstore/internal/checksum"
)

// Small directories of each kind. The image has 4 pages; generation 1 is what
// the patches carry, so a page of generation 1 in the image is a trace.
func TestVereDecision(t *testing.T) {
	image := vereImage(0, 0, 0, 0)
	half := vereImage(0, 1, 0, 0)
	whole := vereImage(0, 1, 0, 1, 1)
	torn := append(vereImage(0, 0, 0, 0), verePage(4, 1)[:1000]...)
	control, memory := verePatch(5, 1, 3, 4)
	badMemory := with(memory, func(b []byte) { b[2*verePageSize+7] ^= 1 })
	line := func(page int, generation int) VereLine {
		return VereLine{Page: int64(page), Hash: checksum.Sum32(verePage(page, generation))}
	}
	duplicate := vereControl(4, line(1, 1), line(1, 1))
	twice := append(verePage(1, 1), verePage(1, 1)...)

	for _, c := range []struct {
		name   string
		dir    vereDir
		action string
		exit   int
		pages  int64
		file   string // of the defect, on refusal
		page   int64
		text   string // in the reason
	}{
		// Step 1.
		{name: "nothing", action: "none", exit: 10, text: "no image.bin"},
		{name: "south alone", dir: vereDir{south: true}, action: "none", exit: 10},

		// Step 3.
		{name: "north alone", dir: vereDir{north: true}, action: "refused", exit: 12, file: "north.bin", page: -1},
		{name: "south beside an image", dir: vereDir{image: image, south: true}, action: "refused", exit: 12, file: "south.bin", page: -1},
		{name: "north beside everything", dir: vereDir{image: image, control: control, memory: memory, north: true},
			action: "refused", exit: 12, file: "north.bin", page: -1},
		{name: "patch without an image", dir: vereDir{control: control, memory: memory}, action: "refused", exit: 3, file: "image.bin", page: -1},
		{name: "torn patch without an image", dir: vereDir{control: control[:1]}, action: "refused", exit: 3, file: "image.bin", page: -1},
		{name: "empty control.bin alone", dir: vereDir{control: []byte{}}, action: "discarded"},
		{name: "memory.bin alone", dir: vereDir{memory: memory}, action: "imported", text: "leftover"},

		// Step 4.
		{name: "image", dir: vereDir{image: image}, action: "imported", pages: 4},
		{name: "empty image", dir: vereDir{image: []byte{}}, action: "imported"},
		{name: "torn image", dir: vereDir{image: torn}, action: "refused", exit: 3, file: "image.bin", page: 4, text: "inside a page"},
		{name: "leftover memory.bin", dir: vereDir{image: image, memory: memory}, action: "imported", pages: 4, text: "leftover"},
		{name: "torn image, leftover memory.bin", dir: vereDir{image: torn, memory: memory}, action: "refused", exit: 3, file: "image.bin", page: 4},

		// Step 5.
		{name: "version 0", dir: vereDir{image: image, control: append(make([]byte, 4), control[4:]...), memory: memory}, action: "refused", exit: 12, file: "control.bin", page: -1},
		{name: "length without bytes", dir: vereDir{image: image, control: make([]byte, 16), memory: memory}, action: "discarded", pages: 4},
		{name: "length without bytes, torn image", dir: vereDir{image: torn, control: make([]byte, 16), memory: memory}, action: "refused", exit: 3, file: "image.bin", page: 4},
		{name: "version 3, 4 bytes", dir: vereDir{image: image, control: []byte{3, 0, 0, 0}}, action: "refused", exit: 12, file: "control.bin", page: -1, text: "another version"},
		{name: "version 3, 3 bytes", dir: vereDir{image: image, control: []byte{3, 0, 0}}, action: "discarded", pages: 4},
		{name: "our magic", dir: vereDir{image: image, control: []byte("LOOMCTL\x00")}, action: "refused", exit: 12, file: "control.bin", page: -1},
		{name: "one byte too many", dir: vereDir{image: image, control: append(bytes.Clone(control), 0), memory: memory}, action: "discarded", pages: 4},
		{name: "wrong length, torn image", dir: vereDir{image: torn, control: control[:39], memory: memory}, action: "refused", exit: 3, file: "image.bin", page: 4},
		{name: "line count 2^32-1", dir: vereDir{image: image, control: withCount(control, 0xffffffff), memory: memory}, action: "discarded", pages: 4},
		{name: "line count wraps in 32 bits", dir: vereDir{image: image, control: withCount(control, 0x20000003), memory: memory}, action: "discarded", pages: 4},
		{name: "vere64", dir: vereDir{image: image, control: vere64Control(6, 2, 1, 5)}, action: "refused", exit: 12, file: "control.bin", page: -1, text: "another layout"},
		{name: "vere64 without lines", dir: vereDir{image: image, control: vere64Control(6, 0)}, action: "refused", exit: 12, file: "control.bin", page: -1},
		{name: "vere64, bad header hash", dir: vereDir{image: image, control: with(vere64Control(6, 2, 1, 5), func(b []byte) { b[4] ^= 1 })}, action: "discarded", pages: 4},
		{name: "vere64, line count wraps in 64 bits", dir: vereDir{image: image, control: vere64Control(6, 1<<60+2, 1, 5)}, action: "discarded", pages: 4},
		{name: "vere64, torn", dir: vereDir{image: image, control: vere64Control(6, 2, 1)}, action: "discarded", pages: 4},

		// Step 6, good.
		{name: "patch", dir: vereDir{image: image, control: control, memory: memory}, action: "imported", pages: 5},
		{name: "patch, half applied", dir: vereDir{image: half, control: control, memory: memory}, action: "imported", pages: 5},
		{name: "patch, torn image", dir: vereDir{image: torn, control: control, memory: memory}, action: "imported", pages: 5},
		{name: "memory.bin longer", dir: vereDir{image: image, control: control, memory: append(bytes.Clone(memory), 1, 2, 3)}, action: "imported", pages: 5},
		{name: "patch onto an empty image", dir: patched([]byte{}, 2, 0, 1), action: "imported", pages: 2},
		{name: "shrink", dir: patched(image, 1), action: "imported", pages: 1},
		{name: "shrink, memory.bin missing", dir: vereDir{image: image, control: vereControl(2)}, action: "imported", pages: 2},
		{name: "descending lines", dir: patched(image, 4, 3, 2, 1), action: "imported", pages: 4},
		{name: "growth leaves a free page out", dir: patched(image, 8, 1, 5, 7), action: "imported", pages: 8},
		{name: "largest loom", dir: patched(image, VereMaxPages, VereMaxPages-1), action: "imported", pages: VereMaxPages},

		// Step 6, bad without a trace.
		{name: "header hash", dir: vereDir{image: image, control: with(control, func(b []byte) { b[4] ^= 1 }), memory: memory}, action: "discarded", pages: 4, text: "header hash"},
		{name: "duplicate", dir: vereDir{image: image, control: duplicate, memory: twice}, action: "discarded", pages: 4, text: "second line"},
		{name: "page beyond the count", dir: patched(image, 4, 1, 4), action: "discarded", pages: 4, text: "beyond the page count"},
		{name: "count beyond image and patch", dir: patched(image, 9, 1, 7), action: "discarded", pages: 4, text: "beyond both"},
		{name: "count 2^32-1", dir: patched(image, 0xffffffff, 1), action: "discarded", pages: 4, text: "impossible page count"},
		{name: "page and count 2^32-1", dir: patched(image, 0xffffffff, 0xfffffffe), action: "discarded", pages: 4, text: "impossible page count"},
		{name: "larger than any loom", dir: patched(image, VereMaxPages+1, VereMaxPages), action: "discarded", pages: 4, text: "impossible page count"},
		{name: "no pages", dir: patched(image, 0), action: "discarded", pages: 4, text: "impossible page count"},
		{name: "memory.bin missing", dir: vereDir{image: image, control: control}, action: "discarded", pages: 4, text: "missing"},
		{name: "memory.bin empty", dir: vereDir{image: image, control: control, memory: []byte{}}, action: "discarded", pages: 4, text: "ends inside"},
		{name: "memory.bin one byte short", dir: vereDir{image: image, control: control, memory: memory[:len(memory)-1]}, action: "discarded", pages: 4, text: "ends inside"},
		{name: "page hash", dir: vereDir{image: image, control: control, memory: badMemory}, action: "discarded", pages: 4, text: "page hash"},

		// Step 6, bad with a trace.
		{name: "header hash, half applied", dir: vereDir{image: half, control: with(control, func(b []byte) { b[4] ^= 1 }), memory: memory},
			action: "refused", exit: 3, file: "control.bin", page: -1, text: "already holds its page 1"},
		{name: "duplicate, half applied", dir: vereDir{image: half, control: duplicate, memory: twice}, action: "refused", exit: 3, file: "control.bin", page: 1},
		{name: "duplicates that differ, second applied", dir: vereDir{image: half, control: vereControl(4, line(1, 2), line(1, 1)), memory: twice},
			action: "refused", exit: 3, file: "control.bin", page: 1},
		{name: "page beyond the count, half applied", dir: patched(half, 4, 1, 4), action: "refused", exit: 3, file: "control.bin", page: 4},
		{name: "memory.bin missing, half applied", dir: vereDir{image: half, control: control}, action: "refused", exit: 3, file: "memory.bin", page: 1},
		{name: "memory.bin short, half applied", dir: vereDir{image: half, control: control, memory: memory[:verePageSize]}, action: "refused", exit: 3, file: "memory.bin", page: 3},
		{name: "page hash, half applied", dir: vereDir{image: half, control: control, memory: badMemory}, action: "refused", exit: 3, file: "memory.bin", page: 4},
		{name: "page hash, torn image", dir: vereDir{image: torn, control: control, memory: badMemory}, action: "refused", exit: 3, file: "memory.bin", page: 4, text: "ends inside a page"},

		// Step 6, bad, and all of it applied.
		{name: "memory.bin missing, all applied", dir: vereDir{image: whole, control: control}, action: "imported", pages: 5, text: "holds all of the patch"},
		{name: "page hash, all applied", dir: vereDir{image: whole, control: control, memory: badMemory}, action: "imported", pages: 5, text: "holds all of the patch"},
		{name: "memory.bin missing, all applied to a longer image", dir: vereDir{image: append(bytes.Clone(whole), verePage(5, 0)...), control: control},
			action: "refused", exit: 3, file: "memory.bin", page: 1},
		{name: "memory.bin missing, all applied but a page", dir: vereDir{image: vereImage(0, 1, 0, 1, 0), control: control},
			action: "refused", exit: 3, file: "memory.bin", page: 1},
		{name: "header hash, all applied", dir: vereDir{image: whole, control: with(control, func(b []byte) { b[4] ^= 1 })},
			action: "refused", exit: 3, file: "control.bin", page: -1},

		// What the format can not tell: the image is torn all the same.
		{name: "memory.bin missing, image cut only", dir: func() vereDir { d := patched(image[:2*verePageSize], 2, 1); d.memory = nil; return d }(),
			action: "discarded", pages: 2, text: "no trace"},
		{name: "memory.bin missing, first page half written", dir: vereDir{image: with(image, func(b []byte) { copy(b[verePageSize:], memory[:verePageSize/2]) }), control: control},
			action: "discarded", pages: 4, text: "no trace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := decideVere(t, c.dir)
			action, exit := vereOutcome(t, v)
			if action != c.action || exit != c.exit || v.Pages != c.pages {
				t.Errorf("got %s, exit %d, %d pages (%s); want %s, exit %d, %d pages",
					action, exit, v.Pages, v.Reason, c.action, c.exit, c.pages)
			}
			if !strings.Contains(v.Reason, c.text) {
				t.Errorf("reason %q does not say %q", v.Reason, c.text)
			}
			var d *Defect
			if errors.As(v.Err, &d) && (d.File != c.file || d.Page != c.page || d.Got == "" || d.Want == "") {
				t.Errorf("defect %+v, want file %s, page %d", d, c.file, c.page)
			}
		})
	}
}

// patched is an image with a patch whose hashes are all good.
func patched(image []byte, total uint32, pages ...int) vereDir {
	control, memory := verePatch(total, pages...)
	return vereDir{image: image, control: control, memory: memory}
}

func withCount(control []byte, count uint32) []byte {
	return vereSeal(with(control, func(b []byte) { binary.LittleEndian.PutUint32(b[12:], count) }))
}

// An old layout is named as exactly as its control.bin tells.
func TestVereNamesOldLayouts(t *testing.T) {
	words := func(w ...uint32) []byte {
		var b []byte
		for _, v := range w {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return b
	}
	for _, c := range []struct {
		name    string
		control []byte
		want    string
	}{
		{"absent", nil, "version 0 or 1"},
		{"short", words(1, 6, 1, 4), "version 0 or 1"},
		{"version 1", words(1, 6, 1, 1, 0, 0xabcd), "version 1"},
		{"version 0, event 77", words(77, 0, 6, 1, 1, 5, 0xabcd, 0), "version 0"},
		{"version 0, event 1", words(1, 0, 6, 1, 1, 5, 0xabcd, 0), "version 0"},
		{"neither", words(9, 9, 9, 9, 9, 9), "version 0 or 1"},
	} {
		v := decideVere(t, vereDir{control: c.control, memory: []byte{}, north: true, south: true})
		var d *Defect
		if !errors.As(v.Err, &d) || d.Got != c.want || d.Class != ErrMismatch {
			t.Errorf("%s: %v, want %s", c.name, v.Err, c.want)
		}
	}
}

// flaky fails its n-th read.
type flaky struct {
	io.ReaderAt
	n *int
}

var errFlaky = errors.New("input/output error")

func (f flaky) ReadAt(b []byte, off int64) (int, error) {
	if *f.n--; *f.n < 0 {
		return 0, errFlaky
	}
	return f.ReaderAt.ReadAt(b, off)
}

// A read that fails is an error whichever read it is: it never looks like an
// absent file or a bad patch.
func TestVereReadErrors(t *testing.T) {
	control, memory := verePatch(5, 1, 3, 4)
	bad := with(memory, func(b []byte) { b[0] ^= 1 })
	image := vereImage(0, 0, 0, 0)
	for name, d := range map[string]vereDir{
		"good":   {image: image, control: control, memory: memory},
		"bad":    {image: image, control: control, memory: bad},
		"header": {image: image, control: with(control, func(b []byte) { b[4] ^= 1 }), memory: memory},
		"north":  {control: control, north: true},
	} {
		for n := 0; ; n++ {
			left, short := n, n
			v, err := DecideVere(d.filesThrough(func(r io.ReaderAt) io.ReaderAt { return flaky{r, &left} }))
			_, shortErr := DecideVere(d.filesThrough(func(r io.ReaderAt) io.ReaderAt { return shrunk{r, &short} }))
			if left >= 0 {
				if err != nil || n == 0 {
					t.Errorf("%s: %d reads: %v", name, n, err)
				}
				break
			}
			if !errors.Is(err, errFlaky) || fmt.Sprint(v) != fmt.Sprint(VereVerdict{}) {
				t.Errorf("%s: read %d failed: verdict %+v, error %v", name, n, v, err)
			}
			if !errors.Is(shortErr, io.ErrUnexpectedEOF) {
				t.Errorf("%s: read %d was short: error %v", name, n, shortErr)
			}
		}
	}
}

// shrunk ends early at its n-th read, as a file does that was cut meanwhile.
type shrunk struct {
	io.ReaderAt
	n *int
}

func (s shrunk) ReadAt(b []byte, off int64) (int, error) {
	if *s.n--; *s.n < 0 {
		n, _ := s.ReaderAt.ReadAt(b[:len(b)/2], off)
		return n, io.EOF
	}
	return s.ReaderAt.ReadAt(b, off)
}

func (d vereDir) filesThrough(wrap func(io.ReaderAt) io.ReaderAt) VereFiles {
	f := d.files()
	for _, file := range []*VereFile{&f.Image, &f.Control, &f.Memory} {
		if file.R != nil {
			file.R = wrap(file.R)
		}
	}
	return f
}
