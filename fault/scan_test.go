//go:build linux && (amd64 || arm64)

package fault

import (
	"os"
	"slices"
	"testing"
)

// TestScanErrorsLoseNothing: the page tables can not be read any more. Collect
// fails and takes nothing; when they can be read again all is found.
func TestScanErrorsLoseNothing(t *testing.T) {
	for _, kind := range []Kind{Mprotect, Cow} {
		t.Run(string(kind), func(t *testing.T) {
			e := newEngine(t, way{kind: kind}, arenaPages, imagePages, false)
			if err := e.Unprotect(); err != nil {
				t.Fatal(err)
			}
			e.store(4, 140)
			e.Mark([]int{9})
			m := pagemapOf(e)
			good := m.file
			broken, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer broken.Close()
			m.file = broken
			if dirty, err := e.Collect([]int{77}, arenaPages); err == nil || !slices.Equal(dirty, []int{77}) {
				t.Fatalf("collected %v, %v", dirty, err)
			}
			if _, err := e.Highest(); err == nil {
				t.Fatal("highest of unreadable tables")
			}
			m.file = good
			mustBe(t, "found", e.checkpoint(arenaPages), 4, 9, 140)
		})
	}
}

func pagemapOf(e *engine) *pagemap {
	if m, ok := e.tracker.(*mprotect); ok {
		return m.private
	}
	return e.tracker.(*comparer).private
}
