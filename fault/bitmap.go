package fault

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"loomstore/internal/mapping"
)

// bitmap is a set of pages in memory of its own: the fault handler may not
// touch the Go heap, and the 8 MiB for an arena of 1 TiB cost nothing until
// they are used. One summary bit for each word makes finding a few pages among
// many cheap.
//
// Adding is safe beside other adders, the fault handler included; taking,
// clearing and top need them stopped.
type bitmap struct {
	region  *mapping.Region
	pages   int
	words   []uint64 // bit p&63 of word p>>6: page p
	summary []uint64 // bit w&63 of word w>>6: words[w] is not zero
	seen    int      // one past the highest page taken or cleared so far
}

func newBitmap(pages int) (*bitmap, error) {
	words := (pages + 63) / 64
	summary := (words + 63) / 64
	sys := mapping.SystemPage()
	size := (8*(words+summary) + sys - 1) / sys * sys
	region, err := mapping.Reserve(size, sys)
	if err != nil {
		return nil, fmt.Errorf("bitmap of %d pages: %w", pages, err)
	}
	if err := region.MapAnon(0, size, mapping.ReadWrite); err != nil {
		_ = region.Release()
		return nil, fmt.Errorf("bitmap of %d pages: %w", pages, err)
	}
	all := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(region.Bytes()))), size/8)
	return &bitmap{
		region:  region,
		pages:   pages,
		words:   all[:words:words],
		summary: all[words : words+summary : words+summary],
	}, nil
}

func (b *bitmap) close() error {
	if b == nil {
		return nil
	}
	return b.region.Release()
}

// addresses returns where the handler finds the words and their summary.
func (b *bitmap) addresses() (words, summary uintptr) {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b.words))), uintptr(unsafe.Pointer(unsafe.SliceData(b.summary)))
}

// add puts the pages [lo, hi) into the set.
func (b *bitmap) add(lo, hi int) {
	for w := lo >> 6; w<<6 < hi; w++ {
		atomic.OrUint64(&b.words[w], within(w, lo, hi))
		atomic.OrUint64(&b.summary[w>>6], 1<<(w&63))
	}
}

// has tells whether all of the pages [lo, hi) are in the set.
func (b *bitmap) has(lo, hi int) bool {
	for w := lo >> 6; w<<6 < hi; w++ {
		if want := within(w, lo, hi); b.words[w]&want != want {
			return false
		}
	}
	return true
}

// remove takes the pages [lo, hi) out of the set.
func (b *bitmap) remove(lo, hi int) {
	b.each(lo, hi, func(w int, word uint64) { b.clear(w, word) })
}

// take moves all pages below limit, except the guard page, out of the set and
// onto dst, in ascending order.
func (b *bitmap) take(dst []int, limit, guardPage int) []int {
	b.each(0, limit, func(w int, word uint64) {
		if guardPage >= 0 && guardPage>>6 == w {
			word &^= 1 << (guardPage & 63)
		}
		b.clear(w, word)
		for ; word != 0; word &= word - 1 {
			dst = append(dst, w<<6+bits.TrailingZeros64(word))
		}
	})
	return dst
}

// each calls visit for the words that hold pages of [lo, hi), with the bits of
// other pages masked out.
func (b *bitmap) each(lo, hi int, visit func(w int, word uint64)) {
	if lo >= hi {
		return
	}
	first, last := lo>>6, (hi-1)>>6
	for s := first >> 6; s <= last>>6; s++ {
		for sum := b.summary[s] & within(s, first, last+1); sum != 0; sum &= sum - 1 {
			w := s<<6 + bits.TrailingZeros64(sum)
			if word := b.words[w] & within(w, lo, hi); word != 0 {
				visit(w, word)
			}
		}
	}
}

func (b *bitmap) clear(w int, word uint64) {
	if word == 0 {
		return
	}
	b.seen = max(b.seen, w<<6+bits.Len64(word))
	b.words[w] &^= word
	if b.words[w] == 0 {
		b.summary[w>>6] &^= 1 << (w & 63)
	}
}

// top returns one past the highest page that ever was in the set.
func (b *bitmap) top() int {
	for s := len(b.summary) - 1; s >= 0; s-- {
		if sum := b.summary[s]; sum != 0 {
			w := s<<6 + bits.Len64(sum) - 1
			return max(b.seen, w<<6+bits.Len64(b.words[w]))
		}
	}
	return b.seen
}

// within returns the bits of word w that stand for members of [lo, hi), for
// words that overlap that range.
func within(w, lo, hi int) uint64 {
	mask := ^uint64(0)
	if lo > w<<6 {
		mask <<= lo - w<<6
	}
	if end := (w + 1) << 6; hi < end {
		mask &= ^uint64(0) >> (end - hi)
	}
	return mask
}
