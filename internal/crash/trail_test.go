package crash

import (
	"strings"
	"testing"

	"loomstore/internal/vfs/memfs"
)

// The operations that a crash point names are not touched by the process that
// went on from it: it is looked at later, and by other goroutines.
func TestOperationsOfATrailStay(t *testing.T) {
	p := loom{size: 1024, create: true}
	type point struct {
		trail *trail
		then  string
	}
	var points []point
	fails := 0
	err := (&explorer{proto: p}).run(memfs.New(), newLedger(), takes(p, history[0]), &trail{}, func(_ *memfs.FS, _ *ledger, tr *trail, c crashPoint) {
		points = append(points, point{tr, tr.operations()})
		if c.sync != "" {
			fails++
			if !strings.HasSuffix(last(*tr.log), "fails") {
				t.Errorf("%q does not say that the sync failed", last(*tr.log))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if fails == 0 {
		t.Fatal("no sync was let fail")
	}
	for _, p := range points {
		if now := p.trail.operations(); now != p.then {
			t.Fatalf("%s: its operations were\n%s\nand are now\n%s", p.trail.text, p.then, now)
		}
	}
}
