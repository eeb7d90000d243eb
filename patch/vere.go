package patch

import (
	"errors"
	"fmt"
	"io"
)

// VereMaxPages is the page count of the largest loom that vere can have: its
// offsets are 32-bit numbers of 4-byte words, 16 GiB (spec/vere.md section 1).
// No patch may make an image larger.
const VereMaxPages = 1 << 20

const (
	verePageSize   = 16384
	vereVersion    = 2
	vereHeaderSize = 16
	vereLineSize   = 8

	// The branch vere64 writes the same version number with wider fields.
	vere64HeaderSize = 24
	vere64LineSize   = 16

	// vereMaxControl is the longest control.bin that is loaded (R10), 16 MiB.
	// Version 2 ends at half of it; the rest is there to tell vere64 by name.
	vereMaxControl = vere64HeaderSize + vere64LineSize*VereMaxPages
)

// ErrVereUncommitted is the class of a control.bin whose length is not the one
// that its header calls for: vere writes the file in one piece and syncs it
// before it touches the image, so this patch was never applied.
var ErrVereUncommitted = errors.New("patch: never committed")

// VereFiles is what a vere snapshot directory (PIER/.urb/chk) holds.
type VereFiles struct {
	Image, Control, Memory VereFile
	North, South           bool // north.bin, south.bin: the image of versions 0 and 1
}

// VereFile is one file. A nil R means that it does not exist, and nothing else:
// a file that can not be opened is an error of whoever opens it, never absence.
type VereFile struct {
	R    io.ReaderAt
	Size int64 // bytes
}

func (f VereFile) absent() bool { return f.R == nil }

// wholePages is the number of pages of which every byte is there.
func (f VereFile) wholePages() int64 { return f.Size / verePageSize }

// readFull fills dst from off. A file that ends early has shrunk since its size
// was taken, which is an I/O error and says nothing about the patch.
func (f VereFile) readFull(name string, dst []byte, off int64) error {
	n, err := f.R.ReadAt(dst, off)
	if n == len(dst) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at offset %d: %w", name, off, err)
}
