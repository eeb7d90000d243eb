package mapping

import "testing"

func TestRelease(t *testing.T) {
	v := NewHeap(32)
	for i := range v.Bytes() {
		v.Bytes()[i] = 0xff
	}
	ReleaseUint64(v.Uint64(8), 0x0807060504030201)
	v.ReleaseUint16(0, 0xbbaa)
	v.ReleaseUint16(6, 0xddcc)
	v.ReleaseUint16(30, 0x1122)
	want := []byte{0xaa, 0xbb, 0xff, 0xff, 0xff, 0xff, 0xcc, 0xdd, 1, 2, 3, 4, 5, 6, 7, 8}
	for i, b := range want {
		if v.Bytes()[i] != b {
			t.Fatalf("bytes % x, want % x", v.Bytes()[:16], want)
		}
	}
	if v.Bytes()[30] != 0x22 || v.Bytes()[31] != 0x11 || v.Bytes()[29] != 0xff {
		t.Errorf("last bytes % x", v.Bytes()[28:])
	}
	for _, off := range []int{-2, 1, 31, 32} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("ReleaseUint16(%d) stored", off)
				}
			}()
			v.ReleaseUint16(off, 0)
		}()
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("LoadUint16(%d) loaded", off)
				}
			}()
			v.LoadUint16(off)
		}()
	}
	for off, want := range map[int]uint16{0: 0xbbaa, 2: 0xffff, 6: 0xddcc, 10: 0x0403, 30: 0x1122} {
		if got := v.LoadUint16(off); got != want {
			t.Errorf("LoadUint16(%d) = %#x, want %#x", off, got, want)
		}
	}
	Pause(0)
	Pause(3)
}
