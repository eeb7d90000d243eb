package loom_test

import (
	"testing"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/loom"
)

// TestTossBesideACheckpoint: pages that a checkpoint on its way is about to
// make the image's are not free space, whatever the watermark says by now; and
// DirtyAll means them too.
func TestTossBesideACheckpoint(t *testing.T) {
	for name, call := range map[string]func(l *loom.Loom) error{
		"Toss":     (*loom.Loom).Toss,
		"DirtyAll": (*loom.Loom).DirtyAll,
	} {
		t.Run(name, func(t *testing.T) {
			hold := &holding{name: "memory.bin", reached: make(chan struct{}), release: make(chan struct{})}
			l := open(t, t.TempDir(), &loom.Options{FS: errorfs.New(vfs.OS, hold)})
			if err := l.SetWatermarks(8*page, size); err != nil {
				t.Fatal(err)
			}
			l.Bytes()[7*page] = 1
			hold.on.Store(true)
			if _, err := l.CheckpointAsync(ctx); err != nil {
				t.Fatal(err)
			}
			<-hold.reached
			if err := l.SetWatermarks(2*page, size); err != nil {
				t.Fatal(err)
			}
			go close(hold.release)
			if err := call(l); err != nil {
				t.Fatal(err)
			}
			if got := l.Bytes()[7*page]; got != 1 {
				t.Errorf("the checkpoint has 1, memory %d", got)
			}
			if err := l.SetWatermarks(8*page, size); err != nil {
				t.Fatal(err)
			}
			if c := save(t, l); name == "DirtyAll" && c.Pages != 8 {
				t.Errorf("%d pages saved behind DirtyAll", c.Pages)
			}
			shut(t, l)
		})
	}
}
