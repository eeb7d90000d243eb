package patch

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

var tiny = Geometry{PageSize: 256}

// anyRecord draws a valid record.
func anyRecord(t *rapid.T) *Record {
	pages := rapid.IntRange(0, 1000).Draw(t, "pages")
	epoch := rapid.Uint64Range(0, 9).Draw(t, "epoch")
	r := &Record{
		Epoch: epoch, Base: max(epoch, 1) - 1, OldPages: rapid.IntRange(0, 1000).Draw(t, "old"), NewPages: pages,
		Low:   int64(pages)*256 - rapid.Int64Range(0, min(int64(pages), 1)*255).Draw(t, "slack"),
		Lines: rapid.IntRange(0, pages).Draw(t, "lines"), BodyOffset: rapid.Int64Range(0, 1000).Draw(t, "body") * BlockSize,
		OldDigest: Digest{1, rapid.Uint64().Draw(t, "digest")}, NewDigest: Digest{3, 4}, LinesHash: rapid.Uint64().Draw(t, "hash"),
		Rewrite: rapid.Uint64().Draw(t, "rewrite"), App: rapid.SliceOfN(rapid.Byte(), 0, MaxAppRecord).Draw(t, "app"),
	}
	copy(r.Store[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord(t)
		b := r.Marshal(tiny)
		got, err := UnmarshalRecord(b, tiny)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Marshal(tiny), b) || got.Epoch != r.Epoch || got.Store != r.Store || !bytes.Equal(got.App, r.App) {
			t.Fatalf("%+v became %+v", r, got)
		}
	})
}

// The offsets are those of the table in docs/format.md.
func TestRecordOffsets(t *testing.T) {
	r := &Record{Store: UUID{0xaa}, Base: 0x11, Epoch: 0x12, OldPages: 0x13, NewPages: 0x14, Low: 0x14 * 256, OldDigest: Digest{0x15, 0x16},
		NewDigest: Digest{0x17, 0x18}, Lines: 0x09, BodyOffset: 0x1000, LinesHash: 0x19, Rewrite: 0x1a, App: []byte{0xbb}}
	b := r.Marshal(tiny)
	for off, want := range map[int]byte{0: 'L', 6: 'L', 8: 1, 13: 1, 16: 0xaa, 32: 0x11, 40: 0x12, 48: 0x13, 56: 0x14, 65: 0x14, 72: 0x15, 80: 0x16,
		88: 0x17, 96: 0x18, 104: 0x09, 113: 0x10, 120: 0x19, 128: 0x1a, 136: 1, 144: 0xbb, 145: 0, 1168: 0} {
		if b[off] != want {
			t.Errorf("byte %d is %#x, want %#x", off, b[off], want)
		}
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	b := (&Record{Base: 6, Epoch: 7, NewPages: 4, Low: 1024, App: []byte("x")}).Marshal(tiny)
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := UnmarshalRecord(b, tiny); err == nil {
			t.Fatalf("bit %d of byte %d flipped, and accepted", bit%8, bit/8)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestAnotherVersionIsAMismatch(t *testing.T) {
	for _, off := range []int{recVersion, recPageSize} {
		b := (&Record{}).Marshal(tiny)
		b[off]++
		SealBlock(b)
		if _, err := UnmarshalRecord(b, tiny); !errors.Is(err, ErrMismatch) {
			t.Errorf("byte %d: %v", off, err)
		}
	}
}

// control makes a control.bin whose slots hold the given copies.
func control(copies ...*Record) []byte {
	b := make([]byte, ControlSize)
	for i, r := range copies {
		if r != nil {
			copy(b[i*BlockSize:], r.Marshal(tiny))
		}
	}
	return b
}

func at(epoch, rewrite uint64) *Record {
	return &Record{Base: max(epoch, 1) - 1, Epoch: epoch, Rewrite: rewrite}
}

func TestBestRecord(t *testing.T) {
	for _, c := range []struct {
		copies         []*Record
		epoch, rewrite uint64
	}{
		{[]*Record{at(0, 0), at(0, 0), nil, nil}, 0, 0},
		{[]*Record{at(2, 0), at(2, 5), at(1, 9), at(1, 9)}, 2, 5},
		{[]*Record{at(2, 3), at(4, 0), at(3, 0), nil}, 4, 0},
		{[]*Record{at(3, 0), nil, at(1, 0), nil}, 1, 0}, // epoch 3 is in the wrong slot
	} {
		b := control(c.copies...)
		ctl, err := ReadControl(bytes.NewReader(b), int64(len(b)), tiny)
		if err != nil {
			t.Fatal(err)
		}
		if got := ctl.Best(); got == nil || got.Epoch != c.epoch || got.Rewrite != c.rewrite {
			t.Errorf("%v: best is %+v", c.copies, got)
		}
	}
	if _, err := ReadControl(bytes.NewReader(nil), ControlSize-1, tiny); !errors.Is(err, ErrDamaged) {
		t.Errorf("a short file: %v", err)
	}
}

// Recovery writes first the copy that is invalid or has the higher number, so
// that the other stays whole meanwhile, and every number is above what it
// replaces and above its twin.
func TestRewrites(t *testing.T) {
	for _, c := range []struct {
		a, b *Record
		want [2]Rewrite
	}{
		{nil, nil, [2]Rewrite{{0, 0}, {1, 1}}},
		{nil, at(2, 4), [2]Rewrite{{0, 5}, {1, 6}}},
		{at(2, 4), nil, [2]Rewrite{{1, 5}, {0, 6}}},
		{at(2, 0), at(2, 0), [2]Rewrite{{0, 1}, {1, 2}}},
		{at(2, 1), at(2, 2), [2]Rewrite{{1, 2}, {0, 3}}},
		{at(2, 7), at(2, 3), [2]Rewrite{{0, 7}, {1, 8}}},
		{at(0, 9), at(2, 3), [2]Rewrite{{0, 4}, {1, 5}}}, // an older epoch does not count
	} {
		b := control(c.a, c.b)
		ctl, err := ReadControl(bytes.NewReader(b), int64(len(b)), tiny)
		if err != nil {
			t.Fatal(err)
		}
		if got := ctl.Rewrites(at(2, 0)); got != c.want {
			t.Errorf("%+v and %+v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// A body never touches the newest one, and does not wander off for ever.
func TestPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var off, length, largest int64
		for i := range rapid.IntRange(1, 50).Draw(t, "checkpoints") {
			n := rapid.IntRange(0, 300).Draw(t, fmt.Sprint("lines ", i))
			next := tiny.BodyLen(n)
			to := Place(next, off, length)
			if to%BlockSize != 0 || length > 0 && next > 0 && to < off+length && off < to+next {
				t.Fatalf("body [%d, +%d) over the newest [%d, +%d)", to, next, off, length)
			}
			off, length, largest = to, next, max(largest, next)
			if off > 2*(largest+BlockSize) {
				t.Fatalf("body at %d, the largest is %d", off, largest)
			}
		}
	})
}

// The digest is that of the pages, in whatever order they were added, and
// tells exchanged pages.
func TestDigest(t *testing.T) {
	var a, b Digest
	for p := range 100 {
		a = a.Add(p, uint64(p*p))
		b = b.Add(99-p, uint64((99-p)*(99-p)))
	}
	if a != b {
		t.Error("the order matters")
	}
	if a.Sub(5, 25).Add(5, 25) != a || a.Sub(5, 25) == a {
		t.Error("Sub is not the inverse of Add")
	}
	if a.Sub(5, 25).Sub(6, 36).Add(5, 36).Add(6, 25) == a {
		t.Error("two exchanged pages were not noticed")
	}
}

func TestBody(t *testing.T) {
	pages := []int{1, 4, 5}
	body := make([]byte, tiny.BodyLen(len(pages)))
	lines := make([]Line, len(pages))
	for i, p := range pages {
		content := bytes.Repeat([]byte{byte(p)}, 256)
		copy(body[int(tiny.LinesLen(3))+i*256:], content)
		lines[i] = Line{Page: p, Hash: LinesHash(content)}
	}
	encoded := EncodeLines(nil, lines)
	copy(body, encoded)
	rec := &Record{Epoch: 1, NewPages: 6, Lines: 3, LinesHash: LinesHash(encoded)}
	dst := make([]byte, 3*256)
	read := func(b []byte, rec *Record) error {
		body, err := ReadBody(bytes.NewReader(b), int64(len(b)), rec, tiny)
		if err != nil {
			return err
		}
		return body.ReadPages(0, len(body.Lines), dst)
	}
	if err := read(body, rec); err != nil {
		t.Fatal(err)
	}
	for n := range len(body) {
		if err := read(body[:n], rec); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for i := range body {
		if i >= len(encoded) && int64(i) < tiny.LinesLen(3) {
			continue // padding
		}
		body[i] ^= 4
		if err := read(body, rec); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		body[i] ^= 4
	}
	small := *rec
	small.NewPages = 5 // page 5 is not below
	if err := read(body, &small); !errors.Is(err, ErrDamaged) {
		t.Errorf("a line beyond the image: %v", err)
	}
}
