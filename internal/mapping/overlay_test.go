package mapping_test

import (
	"sync/atomic"
	"testing"

	"loomstore/internal/mapping"
)

type pair struct {
	a atomic.Uint32
	b atomic.Uint32
	c atomic.Uint64
}

func TestOverlaySharesTheViewsWords(t *testing.T) {
	v := mapping.NewHeap(32)
	p := mapping.Overlay[pair](v, 8)
	v.Uint32(12).Store(7)
	v.Uint64(16).Store(9)
	if p.a.Load() != 0 || p.b.Load() != 7 || p.c.Load() != 9 {
		t.Fatalf("overlay reads %d %d %d, want 0 7 9", p.a.Load(), p.b.Load(), p.c.Load())
	}
}

func TestOverlayRefusesWhatDoesNotFit(t *testing.T) {
	for _, off := range []int{-8, 4, 24, 32} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("overlay at %d of 32 bytes did not panic", off)
				}
			}()
			mapping.Overlay[pair](mapping.NewHeap(32), off)
		}()
	}
}
