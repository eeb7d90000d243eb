package endure

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"loomstore/image"
	"loomstore/loom"
)

func init() {
	others["copy"] = func(argument string) error {
		var src, dst string
		if _, err := fmt.Sscan(argument, &src, &dst); err != nil {
			return err
		}
		_, err := image.Backup(context.Background(), src, dst, nil, nil)
		return err
	}
}

// Backups beside a program that never stops taking checkpoints: each is one
// epoch, byte for byte, not older than the last that was acknowledged before it
// began. Every second one is taken by another process.
func TestBackupsBesideCheckpoints(t *testing.T) {
	checkpoints := uint64(10000)
	if testing.Short() {
		checkpoints = 1000
	}
	s := schedule{variable(t, "LOOM_KILL_SEED", 7)}
	top := t.TempDir()
	dir := filepath.Join(top, "store")
	l, err := loom.Open(dir, &loom.Options{Size: arena})
	if err != nil {
		t.Fatal(err)
	}
	var acked atomic.Uint64
	var copying sync.WaitGroup
	stop := make(chan struct{})
	copies, epochs := 0, map[uint64]bool{}
	copying.Go(func() {
		for ; ; copies++ {
			select {
			case <-stop:
				return
			default:
			}
			oldest, to := acked.Load(), filepath.Join(top, "copy")
			var err error
			if copies%2 == 0 {
				_, err = image.Backup(context.Background(), dir, to, nil, nil)
			} else if out, runErr := program("copy", dir+" "+to).CombinedOutput(); runErr != nil {
				err = fmt.Errorf("%w: %s", runErr, out)
			}
			var epoch uint64
			if err == nil {
				epoch, err = checkCopy(s, to)
			}
			if err != nil || epoch < oldest {
				t.Errorf("backup %d: epoch %d, %d was acknowledged before: %v", copies, epoch, oldest, err)
				return
			}
			epochs[epoch] = true
		}
	})
	for epoch := uint64(1); epoch <= checkpoints && !t.Failed(); epoch++ {
		if err := l.SetWatermarks(int64(s.pages(epoch)*pageSize), arena); err != nil {
			t.Error(err)
		}
		s.advance(l.Bytes(), epoch)
		if err := l.SetAppRecord(binary.LittleEndian.AppendUint64(nil, epoch)); err != nil {
			t.Error(err)
		}
		if _, err := l.Checkpoint(context.Background()); err != nil {
			t.Error(err)
		}
		acked.Store(epoch)
	}
	close(stop)
	copying.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d backups of %d different epochs during %d checkpoints", copies, len(epochs), checkpoints)
	if len(epochs) < 5 && !t.Failed() {
		t.Errorf("backups of %d epochs only: they did not run beside the checkpoints", len(epochs))
	}
}
