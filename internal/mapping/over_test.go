package mapping

import (
	"errors"
	"testing"
)

func TestOver(t *testing.T) {
	mem := NewHeap(64).Bytes()
	v, err := Over(mem[8:40])
	if err != nil {
		t.Fatal(err)
	}
	v.Uint64(8).Store(0x1122334455667788)
	if mem[16] != 0x88 || LoadWord(mem[16:]) != 0x1122334455667788 {
		t.Errorf("the view lies elsewhere: % x", mem)
	}
	if v.Len() != 32 || !v.Writable() {
		t.Errorf("length %d, writable %v", v.Len(), v.Writable())
	}
	if err := v.Close(); err != nil || v.Len() != 32 {
		t.Errorf("close: %v, length %d", err, v.Len())
	}
	for name, bad := range map[string][]byte{"misaligned": mem[4:20], "empty": nil} {
		if _, err := Over(bad); !errors.Is(err, ErrRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
