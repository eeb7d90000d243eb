package inject

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/oplog"
)

// harmless are calls that change nothing that is durable, whatever they name.
var harmless = map[string]bool{
	"read": true, "pread64": true, "fstat": true, "newfstatat": true, "statx": true, "fstatfs": true, "statfs": true, "getdents64": true,
	"readlinkat": true, "readlink": true, "faccessat2": true, "faccessat": true, "epoll_ctl": true, "lseek": true, "getcwd": true,
	"execve": true, "munmap": true, "madvise": true, "mincore": true, "chdir": true,
}

// partial is the name of a copy that is not yet one.
var partial = regexp.MustCompile(`partial-\d+`)

// translate turns system calls into the notation of the operation log, names
// relative to root. It knows what internal/vfs does and nothing else: any other
// call on a path below top becomes a line that begins with "bypass". Top stands
// for "..", as the root directory does in the golden logs.
func translate(calls []call, top, root string) (lines []string) {
	name := func(path string) string {
		if path == top {
			return ".."
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return path
		}
		return partial.ReplaceAllString(filepath.ToSlash(rel), "partial-PID")
	}
	add := func(op oplog.Op) { lines = append(lines, op.String()) }
	// Descriptors by number: the log knows a file by the name it was opened
	// with, also when that has changed.
	opened, dirs := map[string]string{}, map[string]bool{}
	for _, c := range calls {
		if c.name == "write" && strings.HasPrefix(c.path(1), "mark ") {
			lines = append(lines, strings.TrimSuffix(c.path(1), `\n`))
			continue
		}
		if strings.HasPrefix(c.name, "io_uring") {
			lines = append(lines, "bypass "+c.text)
			continue
		}
		if !strings.Contains(c.text, top) || harmless[c.name] {
			continue
		}
		op := oplog.Op{Name: name(c.path(0)), Err: errnoError(c.errno)}
		fd, _, _ := strings.Cut(c.arg(0), "<")
		if n, ok := opened[fd]; ok {
			op.Name = n
		}
		lock := filepath.Base(op.Name) == "lock"
		switch c.name {
		case "openat":
			op.Name = name(c.path(1))
			if c.errno == "" {
				fd := strconv.FormatInt(c.result, 10)
				opened[fd], dirs[fd] = op.Name, !c.flag(2, "O_NONBLOCK")
			}
			switch {
			case !c.flag(2, "O_NONBLOCK") && c.flag(2, "O_RDONLY"):
				continue // a directory, to be listed or synced
			case !c.flag(2, "O_NONBLOCK"):
				lines = append(lines, "bypass "+c.text)
				continue
			case filepath.Base(op.Name) == "lock":
				op.Kind = vfs.OpenLock
			default:
				op.Flag = openFlags(c)
				op.Kind = vfs.OpenKind(op.Flag)
			}
		case "close":
			op.Kind = vfs.Close
			if lock {
				op.Kind = vfs.CloseLock
			}
			delete(opened, fd)
			if dirs[fd] {
				continue
			}
		case "pwrite64":
			op.Kind, op.Len, op.Done, op.Off = vfs.Write, c.number(2), c.result, c.number(3)
			if lock {
				op.Kind = vfs.SetOwner
			}
		case "ftruncate":
			op.Kind, op.Len = vfs.Truncate, c.number(1)
			if lock {
				continue // the second half of SetOwner
			}
		case "fallocate":
			op.Kind, op.Off, op.Len = vfs.Allocate, c.number(2), c.number(3)
			switch c.arg(1) {
			case "FALLOC_FL_KEEP_SIZE":
			case "FALLOC_FL_KEEP_SIZE|FALLOC_FL_ZERO_RANGE":
				op.Kind = vfs.Renew
			default:
				lines = append(lines, "bypass "+c.text)
				continue
			}
		case "fdatasync":
			op.Kind = vfs.Sync
		case "fsync":
			op.Kind = vfs.SyncDir
		case "sync_file_range":
			op.Kind, op.Off, op.Len = vfs.WriteBack, c.number(1), c.number(2)
		case "fcntl":
			kind, ok := lockOp(c, &op)
			if !ok {
				continue
			}
			op.Kind = kind
		case "ioctl":
			switch c.arg(1) {
			case "BTRFS_IOC_CLONE or FICLONE":
				op.Kind, op.NewName = vfs.Clone, opened[c.arg(2)]
			case "BTRFS_IOC_CLONE_RANGE or FICLONERANGE":
				var src int
				op.Kind = vfs.Share
				if _, err := fmt.Sscanf(c.arg(2), "{src_fd=%d, src_offset=%d, src_length=%d, dest_offset=%d}", &src, &op.From, &op.Len, &op.Off); err != nil {
					lines = append(lines, "bypass "+c.text)
					continue
				}
				op.NewName = opened[strconv.Itoa(src)]
			default:
				lines = append(lines, "bypass "+c.text)
				continue
			}
			if c.errno != "" {
				continue // the caller copies, as where files can not share blocks
			}
		case "mkdirat", "unlinkat", "mkdir", "unlink", "rmdir":
			at := 0
			if strings.HasSuffix(c.name, "at") {
				at = 1
			}
			op.Name, op.Kind = name(c.path(at)), vfs.Remove
			if strings.HasPrefix(c.name, "mkdir") {
				op.Kind = vfs.Mkdir
			}
			if c.name == "unlinkat" && c.errno != "" && c.arg(2) == "0" {
				continue // os.Remove asks again, as for a directory
			}
		case "renameat", "renameat2":
			op.Kind, op.Name, op.NewName = vfs.Rename, name(c.path(1)), name(c.path(3))
		case "mmap":
			if !c.flag(3, "MAP_SHARED") || !c.flag(2, "PROT_WRITE") {
				continue
			}
			lines = append(lines, "bypass "+c.text)
			continue
		default:
			lines = append(lines, "bypass "+c.text)
			continue
		}
		add(op)
	}
	return lines
}

func openFlags(c call) (flag int) {
	for word, bit := range map[string]int{"O_RDWR": os.O_RDWR, "O_WRONLY": os.O_WRONLY, "O_CREAT": os.O_CREATE, "O_EXCL": os.O_EXCL, "O_TRUNC": os.O_TRUNC} {
		if c.flag(2, word) {
			flag |= bit
		}
	}
	return flag
}

// lockOp reads fcntl(8</store/lock>, F_OFD_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=1, l_len=1}).
func lockOp(c call, op *oplog.Op) (kind vfs.Kind, ok bool) {
	if c.arg(1) != "F_OFD_SETLK" {
		return "", false
	}
	var typ string
	var length int64
	if _, err := fmt.Sscanf(strings.ReplaceAll(c.arg(2), ",", " "), "{l_type=%s l_whence=SEEK_SET l_start=%d l_len=%d}", &typ, &op.Off, &length); err != nil || length != 1 {
		return "", false // 0 is the whole file, unlocked before it is closed
	}
	switch typ {
	case "F_UNLCK":
		return vfs.Unlock, true
	case "F_WRLCK":
		op.Exclusive = true
	}
	return vfs.TakeLock, true
}

// errnoError is the error that a system call's errno becomes in internal/vfs.
func errnoError(name string) error {
	switch name {
	case "":
		return nil
	case "EAGAIN":
		return vfs.ErrLocked
	case "ENOENT":
		return fs.ErrNotExist
	case "EEXIST":
		return fs.ErrExist
	}
	for n := range unix.Errno(200) {
		if unix.ErrnoName(n) == name {
			return n
		}
	}
	return fmt.Errorf("unknown errno %s", name)
}
