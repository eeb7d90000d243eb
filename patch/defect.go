package patch

import (
	"errors"
	"fmt"
	"strings"
)

// The classes of what can be wrong with a store's files.
var (
	// ErrDamaged: bytes are missing, torn or changed.
	ErrDamaged = errors.New("patch: damaged")
	// ErrMismatch: the bytes are whole, but of another version, layout, store
	// or page size than asked for.
	ErrMismatch = errors.New("patch: version or store mismatch")
)

// Defect is one thing that is wrong with one file. errors.Is finds its class.
type Defect struct {
	Class  error  // ErrDamaged or ErrMismatch
	File   string // the file's name inside the store
	Page   int64  // page of the image, -1 where no page is meant
	Offset int64  // byte in the file, -1 where no byte is meant
	Want   string // what should be there, empty if that is not known
	Got    string // what is there
	Reason string // what it means, in words
}

func (d *Defect) Error() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Page >= 0 {
		fmt.Fprintf(&b, ": page %d", d.Page)
	}
	if d.Offset >= 0 {
		fmt.Fprintf(&b, ": offset %d", d.Offset)
	}
	fmt.Fprintf(&b, ": %s", d.Reason)
	switch {
	case d.Want != "" && d.Got != "":
		fmt.Fprintf(&b, " (want %s, got %s)", d.Want, d.Got)
	case d.Got != "":
		fmt.Fprintf(&b, " (got %s)", d.Got)
	}
	return b.String()
}

// Unwrap returns the class.
func (d *Defect) Unwrap() error { return d.Class }

// damaged is a Defect without page and values.
func damaged(file, reason string) *Defect {
	return &Defect{Class: ErrDamaged, File: file, Page: -1, Offset: -1, Reason: reason}
}

func mismatch(file, reason, want, got string) *Defect {
	return &Defect{Class: ErrMismatch, File: file, Page: -1, Offset: -1, Want: want, Got: got, Reason: reason}
}

// Names of the files in a store's directory.
const (
	ControlFile = "control.bin"
	MemoryFile  = "memory.bin"
	ImageFile   = "image.bin"
)
