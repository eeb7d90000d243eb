package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// filesystem is one that the rig puts on its disk.
type filesystem struct {
	name  string
	kind  string // as mount(2) knows it
	size  int64
	mkfs  []string // the command; the file's name follows
	mount string   // options
	// repair, if not nil, runs before every mount: there is no journal.
	repair []string
	check  []string // of a clean file system; exit code 0 is whole
	// limit, if not empty, says why violations here are not the store's: they
	// are counted, and do not fail the run.
	limit string
	// whole tells writes that the file system relies on being atomic: its
	// superblock, without which it can not be mounted.
	whole func(event) bool
	// spared tells writes that are not made to fail, because the file system
	// hides their failure from everybody (hidden.go). nil: none.
	spared func(event) bool
}

const mib = 1 << 20

func ext4(name, mount string, extra ...string) filesystem {
	mkfs := append([]string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-N", "4096"}, extra...)
	return filesystem{name: name, kind: "ext4", size: 256 * mib, mkfs: mkfs, mount: mount,
		check: []string{"e2fsck", "-f", "-n"}, whole: within(0, blockSize)}
}

// filesystems are all that the rig knows, by the names of -fs.
func filesystems() []filesystem {
	bare := ext4("ext4-nojournal", "", "-O", "^has_journal")
	bare.limit = "without a journal the file system tears its own extent trees"
	bare.repair = []string{"e2fsck", "-f", "-y"}
	journal := ext4("ext4-journal", "data=journal")
	journal.spared = event.zeros
	return []filesystem{
		ext4("ext4", ""),
		ext4("ext4-writeback", "data=writeback"),
		journal,
		bare,
		{name: "xfs", kind: "xfs", size: 320 * mib, mkfs: []string{"mkfs.xfs", "-q", "-f", "-K"}, mount: "nouuid",
			check: []string{"xfs_repair", "-n"}, whole: within()},
		{name: "btrfs", kind: "btrfs", size: 320 * mib, mkfs: []string{"mkfs.btrfs", "-q", "-f", "-K"},
			check: []string{"btrfs", "check"}, whole: within(64<<10, 64<<10+blockSize, 64*mib, 64*mib+blockSize)},
	}
}

// within recognises writes that touch one of the ranges, given as pairs.
func within(ranges ...int64) func(event) bool {
	return func(e event) bool {
		for i := 0; i < len(ranges); i += 2 {
			if e.off < ranges[i+1] && e.off+e.n > ranges[i] {
				return true
			}
		}
		return false
	}
}

// missing names the first command that is not installed.
func (f filesystem) missing() string {
	for _, c := range [][]string{f.mkfs, f.repair, f.check} {
		if len(c) > 0 {
			if _, err := exec.LookPath(c[0]); err != nil {
				return c[0]
			}
		}
	}
	return ""
}

// make returns what a disk holds on which the file system was just made. The
// scratch file is removed.
func (f filesystem) make(scratch string) (content, error) {
	file, err := os.Create(scratch)
	if err != nil {
		return nil, err
	}
	defer os.Remove(scratch)
	defer file.Close()
	if err := file.Truncate(f.size); err != nil {
		return nil, err
	}
	if err := command(append(slices.Clone(f.mkfs), scratch)); err != nil {
		return nil, err
	}
	return load(file)
}

// load reads a sparse file.
func load(file *os.File) (content, error) {
	c := content{}
	for off := int64(0); ; {
		at, err := unix.Seek(int(file.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(int(file.Fd()), at, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		for at -= at % blockSize; at < end; at += blockSize {
			b := new([blockSize]byte)
			if _, err := file.ReadAt(b[:], at); err != nil && err != io.EOF {
				return nil, err
			}
			if *b != *zeroBlock {
				c[at/blockSize] = b
			}
		}
		off = end
	}
}

// command runs one that should succeed.
func command(args []string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w\n%s", args, err, out)
	}
	return nil
}
