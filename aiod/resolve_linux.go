package aiod

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// resolver turns names into descriptors. With a root directory no name leaves
// it, whatever links lie in it or are exchanged meanwhile.
type resolver struct {
	root int // descriptor, or AT_FDCWD for no confinement
}

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS

// maxRaces bounds the attempts while somebody renames what is being resolved.
const maxRaces = 16

func (r *resolver) open(name string, flags int, mode uint32) (int, error) {
	if r.root == unix.AT_FDCWD {
		return openAt(r.root, name, flags, mode)
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: beneath}
	if flags&unix.O_PATH == 0 { // openat2 takes nothing that has no meaning
		how.Flags |= unix.O_NOCTTY
	}
	if flags&unix.O_CREAT != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		how.Mode = uint64(mode) & 0o7777
	}
	var fd int
	var err error
	for range maxRaces {
		err = retry(func() error { fd, err = unix.Openat2(r.root, name, &how); return err })
		if err != unix.EAGAIN {
			break
		}
	}
	return fd, err
}

// parent opens the directory that name is in, for operations that the kernel
// can not confine itself. The descriptor is the caller's to give to drop.
func (r *resolver) parent(name string) (dirfd int, base string, err error) {
	if r.root == unix.AT_FDCWD {
		return r.root, name, nil
	}
	dir, base := path.Split(strings.TrimRight(name, "/"))
	if base == "" || base == "." || base == ".." {
		return -1, "", unix.EINVAL
	}
	if dir == "" {
		dir = "."
	}
	dirfd, err = r.open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	return dirfd, base, err
}

func (r *resolver) drop(dirfd int) {
	if dirfd != unix.AT_FDCWD {
		unix.Close(dirfd)
	}
}

// inspect opens name only to ask about it.
func (r *resolver) inspect(name string, follow bool, ask func(fd int) error) error {
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := r.open(name, flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return ask(fd)
}

// change carries out an operation on one or two names.
func (r *resolver) change(op Op, path1, path2 string, mode uint32) error {
	if op == OpSymlink { // the target is text, whatever it says
		dir, base, err := r.parent(path2)
		if err != nil {
			return err
		}
		defer r.drop(dir)
		return unix.Symlinkat(path1, dir, base)
	}
	dir, base, err := r.parent(path1)
	if err != nil {
		return err
	}
	defer r.drop(dir)
	switch op {
	case OpUnlink:
		return unix.Unlinkat(dir, base, 0)
	case opRmdir:
		return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	case OpMkdir:
		return unix.Mkdirat(dir, base, mode)
	}
	dir2, base2, err := r.parent(path2)
	if err != nil {
		return err
	}
	defer r.drop(dir2)
	if op == OpLink {
		return unix.Linkat(dir, base, dir2, base2, 0)
	}
	return unix.Renameat(dir, base, dir2, base2)
}
