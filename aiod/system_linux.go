package aiod

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// retry calls f again as long as a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// errnoOf returns the number to reply for err; EIO for what has none.
func errnoOf(err error) uint32 {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return uint32(errno)
	}
	return uint32(unix.EIO)
}

// readAt and writeAt are pread and pwrite; pos -1 is the current offset.
func readAt(fd int, p []byte, pos int64) (int, error) {
	for {
		n, err := 0, error(nil)
		if pos == -1 {
			n, err = unix.Read(fd, p)
		} else {
			n, err = unix.Pread(fd, p, pos)
		}
		if err != unix.EINTR {
			return n, err
		}
	}
}

func writeAt(fd int, p []byte, pos int64) (int, error) {
	for {
		n, err := 0, error(nil)
		if pos == -1 {
			n, err = unix.Write(fd, p)
		} else {
			n, err = unix.Pwrite(fd, p, pos)
		}
		if err != unix.EINTR {
			return n, err
		}
	}
}

// awaitInput waits until reading fd would not block. A thread that waits in
// read(2) itself on a unix socket is woken for nothing each time the peer
// takes something that was sent by the same end; one in poll(2) is not.
func awaitInput(fd int) error {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	return retry(func() error {
		_, err := unix.Poll(fds[:], -1)
		return err
	})
}

// openAt is openat(2); what is opened is never inherited by a program started.
func openAt(dirfd int, path string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dirfd, path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, mode)
		return err
	})
	return fd, err
}

func statOf(s *unix.Stat_t) *Stat {
	return &Stat{
		Dev: uint64(s.Dev), Ino: s.Ino, Nlink: uint64(s.Nlink), Rdev: uint64(s.Rdev),
		Mode: s.Mode, UID: s.Uid, GID: s.Gid,
		Size: s.Size, Blksize: int64(s.Blksize), Blocks: s.Blocks,
		Atime: time.Unix(s.Atim.Unix()), Mtime: time.Unix(s.Mtim.Unix()), Ctime: time.Unix(s.Ctim.Unix()),
	}
}

// stValid marks f_flags as filled in; struct statvfs does not carry it.
const stValid = 0x20

func statvfsOf(s *unix.Statfs_t) *Statvfs {
	v := &Statvfs{
		Bsize: uint64(s.Bsize), Frsize: uint64(s.Frsize), Blocks: s.Blocks, Bfree: s.Bfree, Bavail: s.Bavail,
		Files: s.Files, Ffree: s.Ffree, Favail: s.Ffree,
		Fsid: uint64(uint32(s.Fsid.Val[0])) | uint64(uint32(s.Fsid.Val[1]))<<32,
		Flag: uint64(s.Flags) &^ stValid, Namemax: uint64(s.Namelen),
	}
	if v.Frsize == 0 {
		v.Frsize = v.Bsize
	}
	return v
}

// readlink returns a link's target, at most room bytes of it.
func readlink(dirfd int, name string, room int) (string, error) {
	buf := make([]byte, min(room, pathMax))
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// workingDir returns the absolute path of the directory name, as chdir and
// getcwd would, without moving the whole process there.
func workingDir(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return pathOf(fd)
}

// pathOf returns the path of an open directory; ENOENT if it was removed,
// EACCES if it may not be entered, which only a name in it makes the kernel
// check.
func pathOf(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, ".", &st, 0); err != nil {
		return "", err
	}
	if st.Nlink == 0 {
		return "", unix.ENOENT
	}
	return readlink(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), pathMax)
}

// getdents reads records of an open directory, 0 bytes at its end. That one
// removed meanwhile has ended is POSIX; the kernel says ENOENT.
func getdents(fd int, buf []byte) (int, error) {
	n, err := unix.Getdents(fd, buf)
	if err == unix.ENOENT {
		return 0, nil
	}
	return max(n, 0), err
}

// dirStream lists an open directory piece by piece.
type dirStream struct {
	buf    [8192]byte
	rest   []byte
	before []byte // rest before the last entry
}

// next returns the next entry, and false at the end.
func (d *dirStream) next(fd int) (dirent, bool, error) {
	if len(d.rest) == 0 {
		n, err := getdents(fd, d.buf[:])
		if err != nil || n == 0 {
			return dirent{}, false, err
		}
		d.rest = d.buf[:n]
	}
	e, rest, ok := nextDirent(d.rest)
	d.before, d.rest = d.rest, rest
	if !ok {
		return dirent{}, false, unix.EIO
	}
	return e, true, nil
}

// unread makes the entry that next returned the next one again.
func (d *dirStream) unread() { d.rest = d.before }
