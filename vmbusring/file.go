package vmbusring

import (
	"fmt"
	"os"

	"loomstore/internal/mapping"
)

// File is a pair of rings in a shared file: control page, data, control page,
// data. Ring 0 carries packets from guest to host, ring 1 from host to guest.
// Two processes that open the same file can talk. Linux only.
type File struct {
	view  *mapping.View
	rings [2]*Flat
}

// FileSize returns the length of a file with two rings of size data bytes.
func FileSize(size int) int64 { return 2 * (PageSize + int64(size)) }

// OpenFile maps the rings of size data bytes each in the named file. A file
// that does not exist or is empty becomes two empty rings; several processes
// may do that at the same time. Any other length is an error, and so is a disk
// without room for the whole file. A file that is cut short while it is mapped
// raises SIGBUS: share it only with those who may end this process.
func OpenFile(name string, size int) (*File, error) {
	if err := checkSize(size); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ring file: %w", err)
	}
	defer f.Close() // the mapping stays
	if err := prepare(f, FileSize(size)); err != nil {
		return nil, fmt.Errorf("ring file %s: %w", name, err)
	}
	view, err := mapping.MapShared(f.Fd(), 0, int(FileSize(size)), true)
	if err != nil {
		return nil, fmt.Errorf("ring file %s: %w", name, err)
	}
	file := &File{view: view}
	for i := range file.rings {
		half := view.Len() / 2
		file.rings[i], err = Over(view.Bytes()[i*half:(i+1)*half], PageSize)
		if err != nil {
			return nil, fmt.Errorf("ring file %s: %w", name, err)
		}
	}
	return file, nil
}

// prepare gives an empty file its length, and every file its blocks. Zero bytes
// are an empty ring, and two processes that do this at once do the same.
func prepare(f *os.File, want int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if n := info.Size(); n != 0 && n != want {
		return fmt.Errorf("%d bytes, expected %d: %w", n, want, ErrInvalid)
	}
	if err := mapping.Allocate(f, want); err != nil {
		return fmt.Errorf("reserve %d bytes: %w", want, err)
	}
	return nil
}

// Ring returns ring 0 or 1.
func (f *File) Ring(i int) *Flat { return f.rings[i] }

// Close unmaps the rings. Nobody may be using them.
func (f *File) Close() error { return f.view.Close() }
