package memfs

import (
	"strings"
	"sync"
	"testing"
)

// Writers on disjoint ranges, with clones being made of what they write and
// written to as well: for -race.
func TestConcurrentUse(t *testing.T) {
	m, f := durable(t, sectors("aaaaaaaa"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				write(t, f, sectors(string(rune('a'+i))), int64(i)*SectorSize)
				if i == 0 {
					must(t, f.Sync())
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				for _, c := range []*FS{m.Clone(), m.CrashClone(Crash{Decide: KeepAll})} {
					g := open(t, c, "f")
					write(t, g, sectors("zzzzzzzz"), 0)
					must(t, g.Sync())
					if got := state(t, c.CrashClone(Crash{}), ""); got != "f=zzzzzzzz" {
						t.Errorf("a clone holds %q", got)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := state(t, m, ""); got != "f=abcdefgh" {
		t.Errorf("state is %q", got)
	}
	if got := strings.Count(read(t, m.CrashClone(Crash{Decide: KeepAll}), "f"), "h"); got != SectorSize {
		t.Errorf("%d bytes of the last writer are left, want a sector", got)
	}
}
