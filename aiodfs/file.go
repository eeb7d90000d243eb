package aiodfs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"loomstore/aiod"
	"loomstore/internal/vfs"
)

// file reads, sizes and maps here, and changes there.
type file struct {
	vfs.File
	f *aiod.File
}

func (f *file) WriteAt(p []byte, off int64) (int, error)         { return f.f.WriteAt(p, off) }
func (f *file) WriteVec(bufs [][]byte, off int64) (int64, error) { return f.f.WriteVec(bufs, off) }
func (f *file) Truncate(size int64) error                        { return f.f.Truncate(size) }
func (f *file) Allocate(off, n int64) error                      { return f.f.Allocate(off, n) }

// Renew does nothing where the file system can not.
func (f *file) Renew(off, n int64) error {
	err := f.f.Renew(off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (f *file) WriteBack(off, n int64) { _ = f.f.WriteBack(off, n) } // a failure is the next Sync's
func (f *file) Close() error           { return f.f.Close() }

// Sync fails once for one failure: the engine writes everything again before
// it syncs again (R4), and that next success is worth what it says.
func (f *file) Sync() error {
	err := f.f.SyncData()
	if err != nil && !errors.Is(err, fs.ErrClosed) {
		err = errors.Join(err, f.f.ResetSync())
	}
	return err
}

func (f *file) CloneFrom(src vfs.File) error {
	from, ok := src.(*file)
	if !ok {
		return &fs.PathError{Op: "clone", Path: f.f.Name(), Err: errors.ErrUnsupported}
	}
	if length, _, err := f.Size(); err != nil {
		return err
	} else if length != 0 {
		return &fs.PathError{Op: "clone", Path: f.f.Name(), Err: fmt.Errorf("%d bytes long, want an empty file: %w", length, syscall.EINVAL)}
	}
	err := f.f.CloneFrom(from.f)
	for _, cannot := range []error{syscall.EXDEV, syscall.ENOTTY, syscall.EINVAL} {
		if errors.Is(err, cannot) {
			return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
		}
	}
	return err
}
