package aiod

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// extended is what only the native mode's files can do.
type extended interface {
	handle
	allocate(ctx context.Context, off, n int64) error
	renew(ctx context.Context, off, n int64) error
	flush(ctx context.Context, off, n int64) error
	cloneFrom(ctx context.Context, src handle) error
	descriptor() *os.File
}

var errNative = fmt.Errorf("needs the native mode: %w", errors.ErrUnsupported)

func (f *File) extended(op string) (extended, error) {
	if err := f.usable(op); err != nil {
		return nil, err
	}
	x, ok := f.h.(extended)
	if !ok {
		return nil, pathError(op, f.name, errNative)
	}
	return x, nil
}

// Allocate reserves blocks for [off, off+n) without changing what is read or
// the length. Native mode only, like all that follows:
// errors.ErrUnsupported otherwise.
func (f *File) Allocate(off, n int64) error {
	x, err := f.extended("allocate")
	if err != nil {
		return err
	}
	return pathError("allocate", f.name, x.allocate(f.ctx, off, n))
}

// Renew makes [off, off+n) read as zero, as far as it lies below the length,
// and takes what the page cache holds of it away (FALLOC_FL_ZERO_RANGE). After
// a failed sync it comes before writing there again: ext4 remembers wrongly of
// a page whose first write-back failed what its block is.
func (f *File) Renew(off, n int64) error {
	x, err := f.extended("renew")
	if err != nil {
		return err
	}
	return pathError("renew", f.name, x.renew(f.ctx, off, n))
}

// WriteBack asks for [off, off+n) to be written soon, without any promise.
func (f *File) WriteBack(off, n int64) error {
	x, err := f.extended("write back")
	if err != nil {
		return err
	}
	return pathError("write back", f.name, x.flush(f.ctx, off, n))
}

// CloneFrom makes this file share all of src's blocks (reflink).
func (f *File) CloneFrom(src *File) error {
	x, err := f.extended("clone")
	if err != nil {
		return err
	}
	return pathError("clone", f.name, x.cloneFrom(f.ctx, src.h))
}

// Fd returns a descriptor of the same open file in this process, for mapping
// it, and false in compatible mode. It stays owned by the File.
func (f *File) Fd() (uintptr, bool) {
	x, err := f.extended("fd")
	if err != nil {
		return 0, false
	}
	return x.descriptor().Fd(), true
}

// OS returns the same open file in this process, for reading and locking it
// without a detour, and false in compatible mode. It is closed by the File's
// Close.
func (f *File) OS() (*os.File, bool) {
	x, err := f.extended("os")
	if err != nil {
		return nil, false
	}
	return x.descriptor(), true
}

// Adopt gives the daemon a file that is open here: a lock, for example, that
// is to be held until the daemon has done everything it was asked, however
// this process ends. f itself can be closed afterwards; what was opened stays
// open until the returned File is closed, or both processes have ended.
func (c *Client) Adopt(f *os.File) (*File, error) {
	b, ok := c.b.(interface {
		adopt(ctx context.Context, f *os.File) (handle, error)
	})
	if !ok {
		return nil, pathError("adopt", f.Name(), errNative)
	}
	h, err := b.adopt(c.ctx, f)
	if err != nil {
		return nil, pathError("adopt", f.Name(), err)
	}
	return &File{h: h, name: f.Name(), ctx: c.ctx, state: new(fileState)}, nil
}
