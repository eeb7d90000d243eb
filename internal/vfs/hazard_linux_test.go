package vfs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/internal/vfs"
)

// What is said of file systems as the kernel mounts them.
func TestHazard(t *testing.T) {
	if got := vfs.Hazard("/proc"); got != "" {
		t.Errorf("/proc: %s", got)
	}
	if got := vfs.Hazard(filepath.Join(t.TempDir(), "nowhere")); got != "" {
		t.Errorf("nowhere: %s", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest not run: mounting a file system needs root")
	}
	for _, c := range []struct{ name, feature, options, want string }{
		{"default", "has_journal", "loop", ""},
		{"writeback", "has_journal", "loop,data=writeback", ""},
		{"journal", "has_journal", "loop,data=journal", "ext4 with data=journal: "},
		{"none", "^has_journal", "loop", "ext4 without a journal: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			disk, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
			if err := os.WriteFile(disk, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(disk, 64<<20); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(mnt, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"mkfs.ext4 -q -F -O " + c.feature + " " + disk, "mount -o " + c.options + " " + disk + " " + mnt} {
				args := strings.Fields(command)
				if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
					t.Skipf("not run: %s: %v\n%s", command, err, out)
				}
			}
			got := vfs.Hazard(mnt)
			if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
				t.Errorf("umount: %v\n%s", err, out)
			}
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
