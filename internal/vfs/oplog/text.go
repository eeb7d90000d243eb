package oplog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"loomstore/internal/vfs"
)

// String returns the operation as one line, the same on every run and machine:
//
//	open NAME [ro|wo] [trunc]      create NAME [excl] [trunc]
//	read, write, writev, alloc or writeback NAME OFFSET+LENGTH
//	truncate NAME SIZE             clone NAME SOURCE
//	rename OLD NEW                 lock NAME BYTE exclusive|shared
//	unlock NAME BYTE               seek NAME OFFSET
//	share NAME OFFSET+LENGTH SOURCE OFFSET
//	mark TEXT
//
// and for all others KIND NAME. After an error follow "!" and its class; before
// it the bytes that were done, if there were any. Process ids are left out.
func (op Op) String() string {
	words := []string{string(op.Kind), op.Name}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch op.Kind {
	case vfs.Open, vfs.Create:
		words = append(words, flagWords(op.Flag)...)
	case vfs.Read, vfs.Write, vfs.WriteVec, vfs.Allocate, vfs.Renew, vfs.WriteBack:
		add("%d+%d", op.Off, op.Len)
	case vfs.Share:
		add("%d+%d %s %d", op.Off, op.Len, op.NewName, op.From)
	case vfs.Truncate:
		add("%d", op.Len)
	case vfs.Rename, vfs.Clone:
		add("%s", op.NewName)
	case vfs.TakeLock:
		mode := "shared"
		if op.Exclusive {
			mode = "exclusive"
		}
		add("%d %s", op.Off, mode)
	case vfs.Unlock, vfs.Seek:
		add("%d", op.Off)
	}
	if op.Err != nil {
		if op.Done > 0 {
			add("did %d", op.Done)
		}
		add("! %s", errorClass(op.Err))
	}
	return strings.Join(words, " ")
}

func flagWords(flag int) (words []string) {
	switch flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) {
	case os.O_RDONLY:
		words = append(words, "ro")
	case os.O_WRONLY:
		words = append(words, "wo")
	}
	if flag&os.O_EXCL != 0 {
		words = append(words, "excl")
	}
	if flag&os.O_TRUNC != 0 {
		words = append(words, "trunc")
	}
	return words
}

// errorClass names an error without the paths and process ids in its text.
func errorClass(err error) string {
	for _, known := range []error{vfs.ErrLocked, errors.ErrUnsupported, fs.ErrNotExist, fs.ErrExist, fs.ErrClosed, io.EOF, io.ErrShortWrite} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return "error"
}
