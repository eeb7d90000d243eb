package aiod

import (
	"testing"

	"pgregory.net/rapid"
)

// TestBuddy: blocks never overlap, are aligned to their size, and when all are
// released the memory is whole again.
func TestBuddy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const block = 4096
		b := newBuddy(block)
		owner := map[uint64]uint64{} // 64-byte unit to block
		sizes := map[uint64]uint64{}
		extended := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"extend": func(t *rapid.T) {
				n := rapid.Uint64Range(1, 3*block/64).Draw(t, "units") * 64
				b.extend(n)
				extended += n
			},
			"alloc": func(t *rapid.T) {
				n := rapid.IntRange(1, block).Draw(t, "bytes")
				off, ok := b.alloc(n)
				if !ok {
					return
				}
				size := uint64(64)
				for size < uint64(n) {
					size *= 2
				}
				if off%size != 0 || off+size > extended {
					t.Fatalf("block of %d at %d of %d", size, off, extended)
				}
				for unit := off; unit < off+size; unit += 64 {
					if other, taken := owner[unit]; taken {
						t.Fatalf("block at %d overlaps the one at %d", off, other)
					}
					owner[unit] = off
				}
				sizes[off] = size
			},
			"release": func(t *rapid.T) {
				for off, size := range sizes {
					b.release(off)
					delete(sizes, off)
					for unit := off; unit < off+size; unit += 64 {
						delete(owner, unit)
					}
					break
				}
			},
			"": func(t *rapid.T) {
				if b.inUse != len(sizes) {
					t.Fatalf("%d in use, handed out %d", b.inUse, len(sizes))
				}
			},
		})
		for off := range sizes {
			b.release(off)
		}
		whole := 0
		for ; ; whole++ {
			if _, ok := b.alloc(block); !ok {
				break
			}
		}
		if want := int(extended / block); whole != want {
			t.Fatalf("%d whole blocks of %d after everything was released", whole, want)
		}
	})
}
