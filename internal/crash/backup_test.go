package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/internal/vfs/memfs"
)

// noClone is a file system that can not share blocks.
type noClone struct{}

func (noClone) Inject(op errorfs.Op) *errorfs.Fault {
	if op.Kind == vfs.Clone {
		return &errorfs.Fault{Err: errors.ErrUnsupported}
	}
	return nil
}

// A backup that is cut off at any operation leaves its source as it was, and
// under its name either nothing or all of one epoch; once it has returned, all
// of it. Source: closed, and committed but not applied; pages
// copied, and blocks shared.
func TestBackupCutOffAnywhere(t *testing.T) {
	p := loom{size: 1024, create: true}
	backup := loom{size: 1024, dir: "/backup"}
	tried, absent := 0, 0
	for i := range 4 {
		pending, share := i&1 > 0, i&2 > 0
		m, l := prepared(t, p, history[:2]...)
		leave(t, p, m, l, history[2], pending)
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
				t.Errorf("pending %v, share %v, backup: %v\n at %v\n kept %s", pending, share, f, tr, how())
				return false
			}
			s, _, f = recovered(p, left, l)
			if f != nil {
				t.Errorf("pending %v, share %v, source: %v\n at %v\n kept %s", pending, share, f, tr, how())
				return false
			}
			return s.close() == nil
		}
		x := &explorer{proto: p}
		rng := rand.New(rand.NewPCG(1, 2))
		take := func(fsys vfs.FS, l *ledger) error {
			if !share {
				fsys = errorfs.New(fsys, noClone{})
			}
			report, err := image.Backup(context.Background(), storeDir, "/backup", p.options(fsys), nil)
			if err == nil && report.Shared != share {
				t.Errorf("share %v: %+v", share, report)
			}
			done = err == nil
			l.ack(l.acked)
			return err
		}
		err := x.run(m, l, take, &trail{text: "backup"}, func(m *memfs.FS, _ *ledger, tr *trail, c crashPoint) {
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
