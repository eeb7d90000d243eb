package vfs

import (
	"errors"
	"io/fs"
)

// RangeCloner is a file that can share part of another's blocks.
type RangeCloner interface {
	// CloneRange makes [off, off+n) of this file share the blocks of
	// [from, from+n) of src, which lies in it. To readers, and to a crash, it
	// is a write of those bytes. Whoever is written next gets blocks of its
	// own: there may be no space for them then, whatever Allocate has said.
	// errors.ErrUnsupported where the file system can not, or not these
	// offsets; then nothing has changed.
	CloneRange(src File, from, n, off int64) error
}

// CloneRange is dst's, and errors.ErrUnsupported for a file that can not.
func CloneRange(dst, src File, from, n, off int64) error {
	if c, ok := dst.(RangeCloner); ok {
		return c.CloneRange(src, from, n, off)
	}
	return &fs.PathError{Op: string(Share), Err: errors.ErrUnsupported}
}
