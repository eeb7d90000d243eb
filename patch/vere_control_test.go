package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"loomstore/internal/checksum"
)

// A control.bin cut anywhere was never committed, and nothing behind its end
// is read: each cut is a slice without spare capacity (defect 16).
func TestVereTruncatedControl(t *testing.T) {
	control, memory := verePatch(4, 1, 3)
	for n := range len(control) {
		d := vereDir{image: vereImage(0, 0, 0, 0), control: bytes.Clone(control[:n:n]), memory: memory}
		if d.control == nil {
			d.control = []byte{}
		}
		if v := decideVere(t, d); !v.Discarded {
			t.Errorf("%d of %d bytes: %v, %s", n, len(control), v.Action, v.Reason)
		}
		if _, err := ParseVereControl(d.control); !errors.Is(err, ErrVereUncommitted) {
			t.Errorf("%d of %d bytes: parsed with error %v", n, len(control), err)
		}
	}
}

// Every single-bit flip of a control.bin is noticed. What happens then depends
// on the field, and on whether the image shows that applying had begun.
func TestVereFlippedControl(t *testing.T) {
	control, memory := verePatch(4, 1, 3)
	clean, half := vereImage(0, 0, 0, 0), vereImage(0, 1, 0, 1)
	for bit := range len(control) * 8 {
		flipped := with(control, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
		wantClean, wantHalf := "discarded", "refused"
		switch bit / 32 {
		case 0: // version: some other software's patch
			wantClean, wantHalf = "refused", "refused"
		case 3: // line count: the length is wrong, as if never committed
			wantClean, wantHalf = "discarded", "discarded"
		}
		for _, c := range []struct {
			image []byte
			want  string
		}{{clean, wantClean}, {half, wantHalf}} {
			v := decideVere(t, vereDir{image: c.image, control: flipped, memory: memory})
			if got, _ := vereOutcome(t, v); got != c.want {
				t.Errorf("bit %d of byte %d: %s, want %s (%s)", bit%8, bit/8, got, c.want, v.Reason)
			}
		}
	}
}

// Any flipped bit in the part of memory.bin that lines name is noticed; behind
// it nothing counts.
func TestVereFlippedMemory(t *testing.T) {
	control, memory := verePatch(4, 1, 3)
	memory = append(memory, 0xaa)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 64 {
		at := rng.IntN(2 * verePageSize)
		if i == 0 {
			at = len(memory) - 1
		}
		flipped := with(memory, func(b []byte) { b[at] ^= 1 << rng.IntN(8) })
		v := decideVere(t, vereDir{image: vereImage(0, 0, 0, 0), control: control, memory: flipped})
		if v.Discarded != (i > 0) {
			t.Errorf("byte %d: %v, discarded %v: %s", at, v.Action, v.Discarded, v.Reason)
		}
	}
}

// Random patches, in any order of lines, in random states of application, give
// the image of a model that knows what every page must hold.
func TestVereRandomPatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		before, total := rng.IntN(8), 1+rng.IntN(8)
		image := vereImage(make([]int, before)...)
		want := make([]byte, total*verePageSize)
		copy(want, image)
		var pages []int
		for _, p := range rng.Perm(total) {
			// vere never leaves out the last page of a growth.
			if rng.IntN(2) == 0 || p == total-1 && total > before {
				pages = append(pages, p)
				copy(want[p*verePageSize:], verePage(p, 1))
				if p < before && rng.IntN(2) == 0 {
					copy(image[p*verePageSize:], verePage(p, 1))
				}
			}
		}
		if total > before { // killed while it grew the image
			image = append(image, want[len(image):len(image)+rng.IntN(len(want)-len(image))]...)
		}
		d := patched(image, uint32(total), pages...)
		v := decideVere(t, d)
		if v.Patch == nil {
			t.Fatalf("%d pages before, %d after, lines %v: %s", before, total, pages, v.Reason)
		}
		if !bytes.Equal(applyVere(t, d.image, v), want) {
			t.Fatalf("%d pages before, %d after, lines %v: wrong image", before, total, pages)
		}
	}
}

// A page of memory.bin that changes after the decision is not handed out.
func TestVereReadPageChecksAgain(t *testing.T) {
	d := patched(vereImage(0, 0, 0, 0), 4, 1, 3)
	v := decideVere(t, d)
	d.memory[verePageSize] ^= 1
	page := make([]byte, verePageSize)
	if err := v.Patch.ReadPage(0, page); err != nil {
		t.Errorf("page 1: %v", err)
	}
	var defect *Defect
	if err := v.Patch.ReadPage(1, page); !errors.As(err, &defect) || defect.Page != 3 || !errors.Is(err, ErrDamaged) {
		t.Errorf("page 3: %v", err)
	}
}

func TestParseVereControl(t *testing.T) {
	hash := func(page int) uint32 { return checksum.Sum32(verePage(page, 1)) }
	control, _ := verePatch(9, 3, 8, 1)
	c, err := ParseVereControl(control)
	if err != nil {
		t.Fatal(err)
	}
	want := []VereLine{{3, hash(3)}, {8, hash(8)}, {1, hash(1)}}
	if c.Pages != 9 || !slices.Equal(c.Lines, want) {
		t.Errorf("got %+v", c)
	}
	for _, b := range [][]byte{vere64Control(6, 1, 1), {1, 0, 0, 0}} {
		if _, err := ParseVereControl(b); !errors.Is(err, ErrMismatch) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := ParseVereControl(vereControl(1, VereLine{Page: 1})); !errors.Is(err, ErrDamaged) {
		t.Errorf("page beyond the count: %v", err)
	}
}

// zeros is a sparse file with a few bytes at its front.
type zeros struct{ front []byte }

func (z zeros) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < int64(len(z.front)) {
		copy(b, z.front[off:])
	}
	return len(b), nil
}

// Sparse files of any size are refused without loading them (R10).
func TestVereHugeFiles(t *testing.T) {
	header := binary.LittleEndian.AppendUint32(nil, vereVersion)
	header = append(header, make([]byte, 8)...)
	header = binary.LittleEndian.AppendUint32(header, 0xffffffff)
	f := VereFiles{
		Image:   VereFile{zeros{}, 1 << 60},
		Control: VereFile{zeros{header}, vereHeaderSize + vereLineSize*0xffffffff},
		Memory:  VereFile{zeros{}, 1 << 60},
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, err := DecideVere(f)
	runtime.ReadMemStats(&after)
	if err != nil || !errors.Is(v.Err, ErrMismatch) {
		t.Errorf("%+v, %v", v, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}
