//go:build linux && (amd64 || arm64)

package fault

import (
	"os"
	"slices"
	"testing"
)

// TestScanErrorsLoseNothing: the page tables can not be read any more. Collect
// fails and takes nothing; when they can be read again all is found. Only uffd,
// for which that can be so for good, compares every page instead.
func TestScanErrorsLoseNothing(t *testing.T) {
	for _, c := range []struct {
		kind  Kind
		scans bool
	}{{Uffd, true}, {Mprotect, true}, {Mprotect, false}, {Cow, true}, {Cow, false}} {
		name := string(c.kind)
		if !c.scans {
			name += "-read"
		}
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, way{kind: c.kind}, arenaPages, imagePages, false)
			if err := e.Unprotect(); err != nil {
				t.Fatal(err)
			}
			e.store(4, 140)
			e.Mark([]int{9})
			m := pagemapOf(e)
			broken, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer broken.Close()
			switch {
			case c.scans && m.scanner == nil:
				t.Skip("not run here: page tables are not scanned")
			case !c.scans:
				m.scanner.close()
				m.scanner = nil
			}
			good := m.file
			m.file = broken
			if c.scans {
				m.scanner.file = broken
			}
			dirty, err := e.Collect([]int{77}, arenaPages)
			if c.kind == Uffd {
				mustBe(t, "compared", dirty, 77, 4, 9, 140)
				e.Mark(dirty[1:])
			} else if err == nil || !slices.Equal(dirty, []int{77}) {
				t.Fatalf("collected %v, %v", dirty, err)
			}
			if _, err := e.Highest(); err == nil {
				t.Fatal("highest of unreadable tables")
			}
			m.file = good
			if c.scans {
				m.scanner.file = good
			}
			mustBe(t, "found", e.checkpoint(arenaPages), 4, 9, 140)
		})
	}
}

func pagemapOf(e *engine) *pagemap {
	switch tracker := e.tracker.(type) {
	case *mprotect:
		return tracker.private
	case *uffd:
		return tracker.tables
	default:
		return tracker.(*comparer).private
	}
}
