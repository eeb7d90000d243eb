package guard

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestMiddle(t *testing.T) {
	const p = PageSize
	for _, c := range []struct {
		name      string
		low, high int
		page      int
		ok        bool
	}{
		{"two pages", 0, 2 * p, 1, true},
		{"one page", 0, p, None, false},
		{"nothing", 5 * p, 5 * p, None, false},
		{"low above high", 6 * p, 5 * p, None, false},
		{"low rounds up", 1, 3 * p, 2, true},
		{"high rounds down", 0, 3*p - 1, 1, true},
		{"both round to one page", 1, 3*p - 1, None, false},
		{"odd", 10 * p, 15 * p, 12, true},
		{"far", 1 << 40, 1<<40 + 1<<30, 1<<26 + 1<<15, true},
	} {
		if page, ok := Middle(c.low, c.high); page != c.page || ok != c.ok {
			t.Errorf("%s: Middle(%d, %d) = %d, %t; want %d, %t", c.name, c.low, c.high, page, ok, c.page, c.ok)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		low, high, size int
		ok              bool
	}{
		{0, 0, 0, true},
		{0, 10, 10, true},
		{10, 10, 10, true},
		{-1, 10, 10, false},
		{6, 5, 10, false},
		{0, 11, 10, false},
		{math.MinInt, math.MaxInt, math.MaxInt, false},
	} {
		err := Check(c.low, c.high, c.size)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrWatermarks) {
			t.Errorf("Check(%d, %d, %d) = %v", c.low, c.high, c.size, err)
		}
	}
}

// watermarks draws live bytes of an arena.
func watermarks(t *rapid.T) (low, high, size int) {
	size = PageSize * rapid.IntRange(1, 1<<26).Draw(t, "pages")
	low = rapid.IntRange(0, size).Draw(t, "low")
	high = rapid.IntRange(low, size).Draw(t, "high")
	return low, high, size
}

// holdsLive tells whether a page overlaps [0, low) or [high, size).
func holdsLive(page, low, high, size int) bool {
	first, end := page*PageSize, (page+1)*PageSize
	return first < low || end > high || end > size
}

func TestNeverOnLiveBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low, high, size := watermarks(t)
		page, ok := Middle(low, high)
		if ok && holdsLive(page, low, high, size) {
			t.Fatalf("page %d holds live bytes: low %d, high %d", page, low, high)
		}
		if ok != Free(low, high, page) {
			t.Fatalf("page %d, placed %t: Free disagrees", page, ok)
		}
		any := rapid.IntRange(0, size/PageSize-1).Draw(t, "any")
		if Free(low, high, any) == holdsLive(any, low, high, size) {
			t.Fatalf("Free(%d) is wrong for low %d, high %d", any, low, high)
		}
	})
}

// TestRecentresUntilNoRoom lets both ends grow in random steps. Whoever stores
// into the guard page asks for the next place, and gets one as long as two
// free pages are left and one of them is a better one.
func TestRecentresUntilNoRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := PageSize * rapid.IntRange(2, 1<<12).Draw(t, "pages")
		low, high := 0, size
		page, ok := Middle(low, high)
		if !ok {
			t.Fatalf("no place in an empty arena of %d bytes", size)
		}
		for moves := 0; ; moves++ {
			if rapid.Bool().Draw(t, "below") {
				low = min(low+rapid.IntRange(1, size/4).Draw(t, "step"), high)
			} else {
				high = max(high-rapid.IntRange(1, size/4).Draw(t, "step"), low)
			}
			next, ok := Next(low, high, page)
			middle, room := Middle(low, high)
			if ok != (room && middle != page) {
				t.Fatalf("Next = %t with room %t, middle %d, guard %d", ok, room, middle, page)
			}
			if ok && (next == page || holdsLive(next, low, high, size)) {
				t.Fatalf("guard goes from %d to %d between %d and %d", page, next, low, high)
			}
			if !room {
				if (high>>pageShift)-((low+PageSize-1)>>pageShift) >= 2 {
					t.Fatalf("exhausted with room between %d and %d", low, high)
				}
				return
			}
			if ok {
				page = next
			}
		}
	})
}

func TestUnmovedWatermarksAreExhaustion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low, high, _ := watermarks(t)
		if page, ok := Middle(low, high); ok {
			if next, ok := Next(low, high, page); ok {
				t.Fatalf("guard moved from %d to %d without a reason", page, next)
			}
		}
	})
}
