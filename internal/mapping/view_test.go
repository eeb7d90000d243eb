package mapping

import "testing"

func TestHeapView(t *testing.T) {
	v := NewHeap(20)
	if v.Len() != 20 || !v.Writable() {
		t.Fatalf("length %d", v.Len())
	}
	v.Uint64(8).Store(1 << 40)
	v.Uint32(16).Store(5)
	if b := v.Bytes(); b[13] != 1 || b[16] != 5 {
		t.Fatalf("% x", b)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestWordsOutsideAViewPanic(t *testing.T) {
	v := NewHeap(20)
	for _, off := range []int{-4, 2, 20, 18} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a 32-bit word at %d", off)
				}
			}()
			v.Uint32(off)
		}()
	}
	defer func() {
		if recover() == nil {
			t.Error("a 64-bit word across the end")
		}
	}()
	v.Uint64(16)
}
