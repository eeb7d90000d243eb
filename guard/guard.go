package guard

import (
	"errors"
	"fmt"
)

// PageSize is the size of a page of the arena in bytes, whatever the kernel's is.
const PageSize = 1 << pageShift

const pageShift = 14

// None stands for the page number of a guard that is nowhere.
const None = -1

// ErrExhausted reports that there is no room left between the two ends of the
// arena: a store hit the guard page and there was no better place for it.
var ErrExhausted = errors.New("guard: no free space left in the arena")

// ErrWatermarks reports watermarks that do not describe a free space inside
// the arena.
var ErrWatermarks = errors.New("guard: watermarks out of range")

// Check validates watermarks, byte offsets into an arena of size bytes: the
// error wraps ErrWatermarks unless 0 <= low <= high <= size.
func Check(low, high, size int) error {
	if low < 0 || low > high || high > size {
		return fmt.Errorf("low %d, high %d in an arena of %d bytes: %w", low, high, size, ErrWatermarks)
	}
	return nil
}

// Middle returns the page in the middle of the free space [low, high), given
// in bytes. There must be two whole free pages, or there is no place.
//
// Any two numbers may be passed: the fault handler reads the watermarks one
// after the other while the program moves them.
func Middle(low, high int) (page int, ok bool) {
	first, end := freePages(low, high)
	if end-first < 2 {
		return None, false
	}
	return first + (end-first)>>1, true
}

// Next decides what a store into the guard page means: the page to which the
// guard moves, or that the space is exhausted.
func Next(low, high, current int) (page int, ok bool) {
	page, ok = Middle(low, high)
	if !ok || page == current {
		return None, false
	}
	return page, true
}

// Free tells whether the page holds no live byte.
func Free(low, high, page int) bool {
	first, end := freePages(low, high)
	return first <= page && page < end
}

// freePages returns the whole pages of the free space. Live bytes may end in
// the middle of a page, so low is rounded up and high down.
func freePages(low, high int) (first, end int) {
	return (low + PageSize - 1) >> pageShift, high >> pageShift
}
