package endure

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

const (
	pageSize  = 16384
	mostPages = 24
	arena     = 64 * pageSize
)

// schedule says what a store holds at each epoch.
type schedule struct{ seed uint64 }

// pages is the page count at an epoch; now and then the image shrinks.
func (s schedule) pages(epoch uint64) int {
	if epoch == 0 {
		return 0
	}
	return 1 + rand.New(rand.NewPCG(s.seed, epoch/3)).IntN(mostPages)
}

// dirties reports whether the checkpoint of an epoch changes a page: all by
// which the image grows, and about a quarter of the others.
func (s schedule) dirties(epoch uint64, page int) bool {
	if page >= s.pages(epoch) {
		return false
	}
	return page >= s.pages(epoch-1) || rand.New(rand.NewPCG(s.seed^epoch, uint64(page))).IntN(4) == 0
}

// writer is the epoch that wrote what a page holds at another.
func (s schedule) writer(epoch uint64, page int) uint64 {
	for ; !s.dirties(epoch, page); epoch-- {
	}
	return epoch
}

// fill makes what the checkpoint of an epoch writes to a page.
func (s schedule) fill(dst []byte, epoch uint64, page int) {
	r := rand.NewPCG(s.seed+epoch, uint64(page))
	for i := 0; i < pageSize; i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], r.Uint64())
	}
}

// advance makes the arena what it is at epoch, from what it was the epoch
// before.
func (s schedule) advance(mem []byte, epoch uint64) {
	for p := range s.pages(epoch) {
		if s.dirties(epoch, p) {
			s.fill(mem[p*pageSize:], epoch, p)
		}
	}
}

// check compares memory with what it must hold at epoch.
func (s schedule) check(epoch uint64, pages int, page func(p int) ([]byte, error)) error {
	if pages != s.pages(epoch) {
		return fmt.Errorf("%d pages at epoch %d, want %d", pages, epoch, s.pages(epoch))
	}
	want := make([]byte, pageSize)
	for p := range pages {
		got, err := page(p)
		if err != nil {
			return err
		}
		s.fill(want, s.writer(epoch, p), p)
		if !bytes.Equal(got, want) {
			return fmt.Errorf("page %d at epoch %d does not hold what epoch %d wrote", p, epoch, s.writer(epoch, p))
		}
	}
	return nil
}
