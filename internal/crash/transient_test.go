package crash

import (
	"testing"

	"loomstore/internal/vfs/memfs"
)

// No error is taken for absence (I8, W9): whatever state a kill leaves, an
// Open of which one reading operation fails says so, and the next finds the
// store as it was.
func TestTransientErrorsInRecovery(t *testing.T) {
	p := loom{size: 256, create: true, keep: 1}
	m, l := prepared(t, p, history[:2]...)
	x := &explorer{proto: p}
	points := 0
	err := x.run(m, l, takes(p, history[2:5]...), &trail{}, func(m *memfs.FS, l *ledger, tr *trail, c crashPoint) {
		if c.full || c.sync != "" {
			return
		}
		points++
		for _, f := range transient(p, m, l, true) {
			t.Errorf("%v: %v", tr, f)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kill points", points)
}
