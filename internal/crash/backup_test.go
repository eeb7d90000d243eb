package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
)

// A backup that is cut off at any operation leaves its source as it was, and
// under its name either nothing or all of one epoch; once it has returned, all
// of it. Source: closed, and committed but not applied.
func TestBackupCutOffAnywhere(t *testing.T) {
	p := loom{size: 1024, create: true}
	backup := loom{size: 1024, dir: "/backup"}
	tried, absent := 0, 0
	for _, pending := range []bool{false, true} {
		m, l := prepared(t, p, history[:2]...)
		s, err := p.open(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.(*loomSession).commit(l, history[2]); err != nil {
			t.Fatal(err)
		}
		if !pending {
			if err := s.(*loomSession).apply(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		done := false
		look := func(left *memfs.FS, tr *trail, how func() string) bool {
			tried++
			s, _, f := recovered(backup, left, l)
			switch {
			case f == nil:
				_ = s.close()
			case errors.Is(f.err, image.ErrNotStore) && !done:
				absent++
			default:
				t.Errorf("pending %v, backup: %v\n at %v\n kept %s", pending, f, tr, how())
				return false
			}
			s, _, f = recovered(p, left, l)
			if f != nil {
				t.Errorf("pending %v, source: %v\n at %v\n kept %s", pending, f, tr, how())
				return false
			}
			return s.close() == nil
		}
		x := &explorer{proto: p}
		rng := rand.New(rand.NewPCG(1, 2))
		take := func(fsys vfs.FS, l *ledger) error {
			_, err := image.Backup(context.Background(), storeDir, "/backup", p.options(fsys), nil)
			done = err == nil
			l.ack(l.acked)
			return err
		}
		err = x.run(m, l, take, &trail{text: "backup"}, func(m *memfs.FS, _ *ledger, tr *trail, c crashPoint) {
			if c.sync != "" || t.Failed() {
				return
			}
			look(m.Clone(), tr, func() string { return "everything: a kill" })
			for _, journal := range []bool{false, true} {
				states(m.Clone(), journal, false, p.size, budget{64, 24}, rng, func(s *memfs.FS, how func() string) bool { return look(s, tr, how) })
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d states, the backup absent in %d", tried, absent)
}
