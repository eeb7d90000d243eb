package loom

import (
	"errors"
	"fmt"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// The classes of error. errors.Is finds them in whatever Open and the methods
// of a Loom return.
var (
	// ErrOptions: Options that contradict themselves or the arena.
	ErrOptions = errors.New("loom: invalid options")
	// ErrClosed: the Loom was closed.
	ErrClosed = errors.New("loom: closed")
	// ErrPage: a page of the arena can not be read, or was stored to where
	// nothing may be stored. *PageError says which.
	ErrPage = errors.New("loom: page fault")
	// ErrValidation: Options.Validate found a page that changed unseen.
	ErrValidation = errors.New("loom: a clean page differs from the store")

	// ErrNotStore: NoCreate, and there is no store.
	ErrNotStore = image.ErrNotStore
	// ErrLocked: another Loom, in this process or another, has the store open.
	// *vfs.LockedError has its process id.
	ErrLocked = vfs.ErrLocked
	// ErrDamaged: bytes of the store are missing, torn or changed.
	ErrDamaged = patch.ErrDamaged
	// ErrMismatch: files of another version, layout or store, or an image
	// larger than the arena.
	ErrMismatch = patch.ErrMismatch
	// ErrNoSpace: the disk is full; nothing was changed and no dirty page lost.
	ErrNoSpace = image.ErrNoSpace
	// ErrInDoubt: writing the commit record failed, so only the next Open can
	// tell whether the checkpoint is durable. Memory stays usable, no further
	// checkpoint is possible (R4).
	ErrInDoubt = image.ErrInDoubt
)

// NoSpaceError says how much could not be reserved, and for which file. It is
// ErrNoSpace.
type NoSpaceError = image.NoSpaceError

// PageError is a page of the arena that could not be accessed. It wraps
// ErrPage, or guard.ErrExhausted where the guard page was hit without room.
type PageError struct {
	Page   int
	Offset int // in the arena, inside the page
	Err    error
}

func (e *PageError) Error() string {
	return fmt.Sprintf("page %d (arena offset %d): %v", e.Page, e.Offset, e.Err)
}

// Unwrap returns the class.
func (e *PageError) Unwrap() error { return e.Err }
