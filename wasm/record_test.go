package wasm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		globals := rapid.SliceOfN(rapid.Uint64(), 0, maxValues).Draw(t, "globals")
		host := rapid.SliceOfN(rapid.Uint64(), 0, maxValues-len(globals)).Draw(t, "host")
		in := record{memory: rapid.Uint64().Draw(t, "memory"), globals: globals, host: host}
		copy(in.module[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "module"))
		b, err := in.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > recordMax {
			t.Fatalf("%d bytes", len(b))
		}
		var out record
		if err := out.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		again, err := out.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

// The offsets are those of the package's doc.
func TestRecordLayout(t *testing.T) {
	r := record{memory: 0x0102030405060708, globals: []uint64{0x11}, host: []uint64{0x21, 0x22}}
	for i := range r.module {
		r.module[i] = byte(0x80 + i)
	}
	b, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte("loomwasm\x01\x00\x01\x00\x02\x00\x00\x00"), r.module[:]...)
	want = append(want, 8, 7, 6, 5, 4, 3, 2, 1)
	for _, v := range []byte{0x11, 0x21, 0x22} {
		want = append(want, v, 0, 0, 0, 0, 0, 0, 0)
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Error(diff)
	}
}

func TestRecordRefuses(t *testing.T) {
	good, err := (&record{globals: []uint64{1}, host: []uint64{2}}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(name string, b []byte) {
		var r record
		if err := r.UnmarshalBinary(b); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v, want ErrRecord", name, err)
		}
	}
	for n := range good {
		refuse("truncated", good[:n])
	}
	refuse("longer", append(bytes.Clone(good), 0))
	for i := range 16 { // magic, version, counts, reserved
		b := bytes.Clone(good)
		b[i] ^= 0x10
		refuse("changed header", b)
	}
	if _, err := (&record{globals: make([]uint64, maxValues+1)}).MarshalBinary(); !errors.Is(err, ErrRecord) {
		t.Errorf("too many values: %v, want ErrRecord", err)
	}
}
