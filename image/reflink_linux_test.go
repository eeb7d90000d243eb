package image_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
	"loomstore/patch"
)

// reflinking mounts a new file system whose files can share blocks.
func reflinking(t *testing.T, mkfs ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not run: mounting a file system needs root")
	}
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		t.Skipf("not run: %v", err)
	}
	dir := t.TempDir()
	disk, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(512<<20), f.Close(), os.Mkdir(mnt, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], disk)...).CombinedOutput(); err != nil {
		t.Skipf("not run: %s: %v\n%s", mkfs[0], err, out)
	}
	// mount's own loop device goes away with the mount.
	if out, err := exec.Command("mount", "-o", "loop", disk, mnt).CombinedOutput(); err != nil {
		t.Skipf("not run: mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return mnt
}

// On file systems that share blocks a backup shares the image's, beside a patch
// that is not applied, and parts from it with the next checkpoint of either.
func TestBackupSharesBlocks(t *testing.T) {
	for name, fsys := range map[string]func(t *testing.T) (vfs.FS, string){
		"memfs": func(*testing.T) (vfs.FS, string) { return memfs.New(), "/" },
		"xfs":   func(t *testing.T) (vfs.FS, string) { return vfs.OS, reflinking(t, "mkfs.xfs", "-q", "-m", "reflink=1") },
		"btrfs": func(t *testing.T) (vfs.FS, string) { return vfs.OS, reflinking(t, "mkfs.btrfs", "-q") },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, dir := fsys(t)
			backupShares(t, fsys, filepath.Join(dir, "store"), dir)
		})
	}
}

// A long run of pages is not written a second time by an apply, and is what it
// was when its body has made room for others.
func TestApplySharesBlocks(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"xfs":   {"mkfs.xfs", "-q", "-m", "reflink=1"},
		"btrfs": {"mkfs.btrfs", "-q"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, dir := context.Background(), reflinking(t, mkfs...)
			log := oplog.New(vfs.OS, oplog.Options{Root: dir})
			s, _, err := image.Open(ctx, filepath.Join(dir, "store"), &image.Options{FS: log, Create: true})
			if err != nil {
				t.Fatal(err)
			}
			m := model{size: 16384}
			run := make([]int, 100)
			for epoch := range uint64(6) {
				for i := range run {
					run[i] = int(epoch)*30 + i
				}
				if err := checkpoint(s, m.take(epoch+1, step{300, append([]int{}, run...)})); err != nil {
					t.Fatal(err)
				}
			}
			shared := 0
			for _, op := range log.Ops() {
				if op.Kind == vfs.Share && op.Err == nil && op.Len == 100*16384 {
					shared++
				}
			}
			if shared != 6 {
				t.Errorf("%d applies shared blocks, want 6", shared)
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
			again, _, err := image.Open(ctx, filepath.Join(dir, "store"), &image.Options{Full: true})
			if err != nil {
				t.Fatal(err)
			}
			checkHolds(t, again, m, 6)
			if err := again.Close(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func backupShares(t *testing.T, fsys vfs.FS, src, dir string) {
	ctx := context.Background()
	open := func(dir string) *image.Store {
		t.Helper()
		s, _, err := image.Open(ctx, dir, &image.Options{FS: fsys, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	backup := func(name string, unread bool) (image.BackupReport, error) {
		return image.Backup(ctx, src, filepath.Join(dir, name), &image.Options{FS: fsys, Unread: unread}, nil)
	}
	m := model{size: 16384}
	s := open(src)
	if err := checkpoint(s, m.take(1, step{300, []int{0, 1, 3, 290}})); err != nil {
		t.Fatal(err)
	}
	for epoch, grow := range []int{310, 200} { // a patch that is not applied, longer and shorter
		st, err := s.Stage(ctx, m.take(uint64(epoch+2), step{grow, []int{1, 150}}))
		if err == nil {
			err = s.Commit(st)
		}
		if err != nil {
			t.Fatal(err)
		}
		then := model{m.size, slices.Clone(m.pages)}
		name := []string{"longer", "shorter"}[epoch]
		report, err := backup(name, epoch == 1)
		if err != nil || !report.Shared || report.Unread != (epoch == 1) || report.State.Epoch != uint64(epoch+2) || report.Held <= 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		if err := s.Apply(ctx); err != nil {
			t.Fatal(err)
		}
		// The source goes on; the copy is what it was, and goes its own way.
		copied := open(filepath.Join(dir, name))
		checkHolds(t, copied, then, uint64(epoch+2))
		if err := errors.Join(checkpoint(copied, then.take(uint64(epoch+3), step{grow, []int{0}})), copied.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		checkHolds(t, s, m, uint64(epoch+2))
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}

	// What is damaged is seen when it is read, and only then.
	f, err := fsys.OpenFile(filepath.Join(src, patch.ImageFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("rot"), 150*16384+100)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = backup("damaged", false)
	if d, ok := errors.AsType[*patch.Defect](err); !ok || d.Page != 150 || !errors.Is(err, patch.ErrDamaged) {
		t.Errorf("a damaged page: %v", err)
	}
	if report, err := backup("unread", true); err != nil || !report.Unread {
		t.Fatalf("%+v, %v", report, err)
	}
	found := 0
	if _, err := image.Verify(ctx, filepath.Join(dir, "unread"), &image.Options{FS: fsys}, func(*patch.Defect) { found++ }, nil); err != nil || found != 1 {
		t.Errorf("%d defects in the copy that was not read, %v", found, err)
	}
}
