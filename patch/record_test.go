package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// A block whose hash is right can still hold what no record may: each field
// has its bounds (R10).
func TestImpossibleRecordsAreRefused(t *testing.T) {
	le := binary.LittleEndian
	good := (&Record{Store: UUID{7}, Base: 6, Epoch: 7, OldPages: 3, NewPages: 4, Low: 1000, Lines: 2, BodyOffset: 2 * BlockSize, App: []byte("x")}).Marshal(tiny)
	if _, err := UnmarshalRecord(good, tiny); err != nil {
		t.Fatal(err)
	}
	u64 := func(at int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[at:], v) } }
	for name, edit := range map[string]func([]byte){
		"another magic":                  func(b []byte) { b[7] = 1 },
		"bytes behind the fields":        func(b []byte) { b[recEnd] = 1 },
		"bytes before the hash":          func(b []byte) { b[blockHash-1] = 1 },
		"a base two epochs before":       u64(recBase, 5),
		"a base at the epoch":            u64(recBase, 7),
		"epoch 0 on a base":              func(b []byte) { u64(recBase, 1)(b); u64(recEpoch, 0)(b) },
		"too many pages before":          u64(recOldPages, maxPages+1),
		"more pages before than a sign":  u64(recOldPages, 1<<63),
		"too many pages":                 func(b []byte) { u64(recNewPages, maxPages+1)(b); u64(recLow, (maxPages+1)*256)(b) },
		"more lines than pages":          u64(recLines, 5),
		"a watermark above the pages":    u64(recLow, 1025),
		"a watermark in the last page's": u64(recLow, 768),
		"a body between two blocks":      u64(recBody, 2*BlockSize+512),
		"a body behind any file":         u64(recBody, 1<<62+BlockSize),
		"a longer application record":    func(b []byte) { le.PutUint32(b[recAppLen:], MaxAppRecord+1) },
		"bytes behind the application's": func(b []byte) { b[recApp+1] = 1 },
		"a reserved field":               func(b []byte) { b[recAppLen+4] = 1 },
	} {
		b := bytes.Clone(good)
		edit(b)
		SealBlock(b)
		if r, err := UnmarshalRecord(b, tiny); err == nil {
			t.Errorf("%s: accepted %+v", name, r)
		}
	}
}

// Control.bin has one length. A longer one is none that we wrote.
func TestLengthOfControl(t *testing.T) {
	for _, n := range []int64{0, ControlSize - 1, ControlSize + 1} {
		if _, err := ReadControl(bytes.NewReader(make([]byte, ControlSize+1)), n, tiny); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// A record is a claim, also one whose end is no number any more.
func TestBodyBeyondAllNumbers(t *testing.T) {
	rec := &Record{Epoch: 1, NewPages: maxPages, Low: maxPages * 16384, Lines: maxPages, BodyOffset: 1 << 62}
	if err := rec.Validate(Standard); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBody(bytes.NewReader(nil), 0, rec, Standard); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// Lines are bound to their record by a hash of their own: a page number that
// changed would move a good page to a wrong place. Lines that have that hash
// must still ascend and lie inside the image.
func TestLines(t *testing.T) {
	lines := func(pages ...int) []byte {
		var all []Line
		for _, p := range pages {
			all = append(all, Line{Page: p, Hash: 1})
		}
		return EncodeLines(nil, all)
	}
	rec := &Record{NewPages: 6, LinesHash: LinesHash(lines(1, 4, 5))}
	if got, err := decodeLines(lines(1, 4, 5), rec); err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	if _, err := decodeLines(lines(2, 4, 5), rec); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "hash of the lines") {
		t.Errorf("another page: %v", err)
	}
	for _, pages := range [][]int{{1, 1}, {4, 1}, {1, 6}, {0, 1 << 40}} {
		rec := &Record{NewPages: 6, LinesHash: LinesHash(lines(pages...))}
		if _, err := decodeLines(lines(pages...), rec); !errors.Is(err, ErrDamaged) {
			t.Errorf("pages %v: %v", pages, err)
		}
	}
}
