package vfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Hazard says what is known against the file system of a directory, "" if
// nothing is: how it may lose what it has synced, whatever is written to it
// and how (docs/crash-safety.md). What can not be found out is not held
// against it.
func Hazard(dir string) string {
	var fsys unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(dir, &fsys) != nil || fsys.Type != unix.EXT4_SUPER_MAGIC || unix.Stat(dir, &st) != nil {
		return ""
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return ""
	}
	options, err := os.ReadFile(filepath.Join("/proc/fs/ext4", filepath.Base(device), "options"))
	if err != nil {
		return ""
	}
	return ext4Hazard(string(options))
}

// ext4Hazard reads the options of a mounted ext4, one a line, defaults
// included. How data and journal go together is among them if there is a
// journal.
func ext4Hazard(options string) string {
	for line := range strings.Lines(options) {
		switch mode, ok := strings.CutPrefix(strings.TrimSpace(line), "data="); {
		case ok && mode == "journal":
			return "ext4 with data=journal: what is written behind an error of the disk may be lost without another error"
		case ok:
			return ""
		}
	}
	return "ext4 without a journal: a power cut may tear the file system itself"
}
