package crash

import (
	"os"
	"testing"
	"time"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
)

// Importing a vere snapshot obeys the same rules. Vere is killed at every
// operation of its saves; what it leaves, synced or not, is imported, and the
// import is killed, cut off and let down by its syncs at every operation in
// turn. This is also the pass with pages of 16 KiB.
func TestImportFromEveryKillOfVere(t *testing.T) {
	began := time.Now()
	seed := vere{size: 16384}
	p := loom{size: 16384, create: true, anonymous: true}
	// What of vere's own files was never synced may be lost or torn, as vere
	// expects; against garbage there it has no defence, nor have we.
	x := &explorer{proto: p, budgets: []budget{{16, 8}, {8, 4}}, seed: 1, again: goesOn(p), enoughBad: 3, clean: true}
	m, l := prepared(t, seed, veresHistory[0])
	// A sample of the kills in every run, each of them in the long one.
	points, every := 0, 6
	if os.Getenv(statesVariable) != "" {
		every = 1
	}
	watch := &explorer{proto: seed}
	// Names that vere made are durable, as on file systems with a journal;
	// without that vere itself tears images (W1), whoever comes after it.
	durableNames := func(a act) act {
		return func(fsys vfs.FS, l *ledger) error {
			return a(&tap{FS: fsys, via: func(s *step, do func() error) error {
				err := do()
				if s.Kind == vfs.Create && err == nil {
					err = fsys.SyncDir(storeDir)
				}
				return err
			}}, l)
		}
	}
	logged := began
	err := spread(2, func(give func(job func())) error {
		return watch.run(m, l, durableNames(takes(seed, veresHistory[1:]...)), &trail{text: "vere"}, func(m *memfs.FS, l *ledger, tr *trail, c crashPoint) {
			points++
			if c.sync != "" || points%every != 0 {
				return
			}
			if time.Since(logged) > 10*time.Second {
				t.Logf("kill %d: %d states tried, %d distinct", points, x.tried.Load(), x.distinct.Load())
				logged = time.Now()
			}
			m, l = m.Clone(), l.clone()
			give(func() { x.restart(m, l, &trail{up: tr, text: "kill, import"}, 0, 0) })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	x.report(t, began)
}
