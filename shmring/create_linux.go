package shmring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// shmDir is where shm_open(3) puts its objects.
const shmDir = "/dev/shm/"

func path(name, suffix string) string { return shmDir + namePrefix + name + suffix }

// create makes the objects without names, fills them, and gives them their
// names last: nobody ever sees one that is too short or not locked (D9). The
// control block is named first, so that who sees the rings sees it too.
func create(name string, plain bool) (*Pair, error) {
	for {
		p, err := createOnce(name, plain)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return p, err
		}
		if reclaimed, why := reclaim(name); !reclaimed {
			return nil, fmt.Errorf("%w: %w", err, why)
		}
	}
}

func createOnce(name string, plain bool) (_ *Pair, err error) {
	var files [3]*os.File // :tx, :rx, :cb
	var v views
	defer func() {
		if err != nil {
			for _, f := range files {
				if f != nil {
					_ = f.Close()
				}
			}
			_ = v.close()
		}
	}()
	var o objects
	for i, size := range []int64{ObjectSize, ObjectSize, controlSize} {
		if i == 2 && plain {
			break
		}
		if files[i], o.inodes[i], err = nameless(size); err != nil {
			return nil, fmt.Errorf("create pair %s: %w", name, err)
		}
	}
	if v, err = mapObjects(files[0], files[1], files[2]); err != nil {
		return nil, fmt.Errorf("create pair %s: %w", name, err)
	}
	for _, ring := range []*mapping.View{v.push, v.pop} {
		ring.Uint64(popAt).Store(firstOffset)
		ring.Uint64(pushAt).Store(firstOffset)
	}
	var c *control
	if !plain {
		c = &control{view: v.control, file: files[2], self: creator}
		v.control.Uint64(magicAt).Store(controlMagic)
		v.control.Uint32(versionAt).Store(controlVersion)
		v.control.Uint64(pushInodeAt).Store(o.inodes[0])
		v.control.Uint64(popInodeAt).Store(o.inodes[1])
		if _, err := lock(files[2], creator); err != nil { // nobody else can know the file
			return nil, err
		}
		c.attach()
	}
	for i, suffix := range []string{controlSuffix, pushSuffix, popSuffix} {
		f := files[(i+2)%3]
		if f == nil {
			continue
		}
		if err = link(f, path(name, suffix)); err != nil {
			return nil, errors.Join(fmt.Errorf("create pair %s: %w", name, err), o.unlink(name))
		}
	}
	o.keep(files[0], files[1], c != nil)
	return newPair(name, creator, v, c, o)
}

// nameless makes a shared memory object of size zero bytes without a name.
func nameless(size int64) (*os.File, uint64, error) {
	fd, err := unix.Open(shmDir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "create in", Path: shmDir, Err: err}
	}
	f := os.NewFile(uintptr(fd), shmDir)
	err = mapping.Allocate(f, size)
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, &fs.PathError{Op: "allocate in", Path: shmDir, Err: err}
	}
	return f, st.Ino, nil
}

// link gives a nameless object its name; a name that exists is fs.ErrExist.
func link(f *os.File, to string) error {
	from := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &fs.PathError{Op: "link", Path: to, Err: err}
	}
	return nil
}

func mapObjects(push, pop, control *os.File) (v views, err error) {
	for _, m := range []struct {
		file *os.File
		size int
		view **mapping.View
	}{{push, ObjectSize, &v.push}, {pop, ObjectSize, &v.pop}, {control, controlSize, &v.control}} {
		if m.file == nil {
			continue
		}
		if *m.view, err = mapping.MapShared(m.file.Fd(), 0, m.size, true); err != nil {
			_ = v.close()
			return views{}, err
		}
	}
	return v, nil
}

// keep closes the ring files where the control block's lock tells of the
// peer's life; without one, whether they still have names must do.
func (o *objects) keep(push, pop *os.File, controlled bool) {
	if controlled {
		_ = push.Close()
		_ = pop.Close()
		return
	}
	o.push, o.pop = push, pop
}

// unlink removes those names of the pair that are still its own objects.
func (o objects) unlink(name string) error {
	var errs []error
	for i, suffix := range []string{pushSuffix, popSuffix, controlSuffix} {
		if o.inodes[i] == 0 || inode(path(name, suffix)) != o.inodes[i] {
			continue
		}
		if err := unix.Unlink(path(name, suffix)); err != nil && err != unix.ENOENT {
			errs = append(errs, &fs.PathError{Op: "unlink", Path: path(name, suffix), Err: err})
		}
	}
	return errors.Join(errs...)
}

// unlinked tells that a ring has lost its name.
func (o objects) unlinked() bool {
	if o.pop == nil {
		return false
	}
	info, err := o.pop.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink == 0
}

// inode returns the inode number that a name has, 0 if there is none. A
// symbolic link is a name that is taken, wherever it leads.
func inode(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}
