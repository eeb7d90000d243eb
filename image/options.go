package image

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// ErrNotStore reports a directory that holds no store.
var ErrNotStore = errors.New("image: not a loom directory")

// ErrNoSpace reports a full disk, noticed before anything was changed.
var ErrNoSpace = errors.New("image: no space")

// ErrInDoubt reports that writing or syncing a commit record failed: the
// checkpoint may or may not be durable. Only the next Open can tell (R4).
var ErrInDoubt = errors.New("image: the last checkpoint is in doubt")

// NoSpaceError is what could not be reserved. errors.Is finds ErrNoSpace.
type NoSpaceError struct {
	File      string
	Need      int64 // bytes asked for
	Available int64 // bytes free on the file system, -1 if unknown
	Err       error // as the file system said it
}

func (e *NoSpaceError) Error() string {
	if e.Available < 0 {
		return fmt.Sprintf("reserve %d bytes for %s: %v", e.Need, e.File, e.Err)
	}
	return fmt.Sprintf("reserve %d bytes for %s, %d available: %v", e.Need, e.File, e.Available, e.Err)
}

// Is finds ErrNoSpace.
func (e *NoSpaceError) Is(target error) bool { return target == ErrNoSpace }

// Unwrap returns the file system's error.
func (e *NoSpaceError) Unwrap() error { return e.Err }

// DefaultMaxPages is the largest image where no arena bounds it: 4 TiB.
const DefaultMaxPages = 1 << 28

// DefaultPatchKeep is how much of memory.bin Close leaves.
const DefaultPatchKeep = 256 << 20

// DefaultShareRun is one MiB: with shorter runs the calls, and the blocks that
// the next body has to be given anew, cost what the writing saves.
const DefaultShareRun = 64

// Options are the choices of Open. The zero value is right for most.
type Options struct {
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// Geometry is for the crash explorer; zero is patch.Standard.
	Geometry patch.Geometry
	// Create makes a store where there is none; else that is ErrNotStore.
	Create bool
	// DiscardDamaged goes on without a vere patch that can not be read, which
	// is renamed aside.
	DiscardDamaged bool
	// Full hashes every page at Open.
	Full bool
	// MaxPages refuses larger images with patch.ErrMismatch, before anything
	// is sized by their page count (R10); 0 is DefaultMaxPages.
	MaxPages int
	// PatchKeep is the length to which Close cuts memory.bin, in bytes; 0 is
	// DefaultPatchKeep, less than 0 keeps all.
	PatchKeep int64
	// ShareRun is how many neighbouring pages an apply does not copy, but lets
	// image.bin share with the body, where the file system can (reflink); 0 is
	// DefaultShareRun.
	ShareRun int
	// Workers is how many goroutines write a body or hash an image; 0 is one a
	// core, 1 makes the order of operations deterministic.
	Workers int
	// Unread lets a backup take the pages as they are where the file system can
	// share their blocks, instead of reading them: it takes the same time for
	// any size, and a damaged page goes unseen until Verify of the copy.
	Unread bool
	// NewUUID names a new store; nil is random.
	NewUUID func() patch.UUID
	// Logger hears of what recovery found; nil is silent.
	Logger *slog.Logger
}

func (o *Options) withDefaults() *Options {
	c := Options{}
	if o != nil {
		c = *o
	}
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.Geometry.PageSize == 0 {
		c.Geometry = patch.Standard
	}
	if c.MaxPages == 0 {
		c.MaxPages = DefaultMaxPages
	}
	if c.PatchKeep == 0 {
		c.PatchKeep = DefaultPatchKeep
	}
	if c.ShareRun == 0 {
		c.ShareRun = DefaultShareRun
	}
	if c.NewUUID == nil {
		c.NewUUID = randomUUID
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &c
}

// fits refuses an image of more than MaxPages pages.
func (o *Options) fits(pages int) error {
	if pages <= o.MaxPages {
		return nil
	}
	return cerrors.WithHint(error(&patch.Defect{Class: patch.ErrMismatch, File: patch.ImageFile, Page: -1, Offset: -1,
		Want: fmt.Sprintf("at most %d pages", o.MaxPages), Got: fmt.Sprintf("%d pages", pages), Reason: "the image does not fit into the arena"}),
		"open it with a larger arena")
}

func (o *Options) scanner() scanner {
	return scanner{g: o.Geometry, workers: o.Workers, zero: zeroHash(o.Geometry)}
}

// randomUUID is a version 4 UUID.
func randomUUID() (u patch.UUID) {
	_, _ = rand.Read(u[:]) // never fails (package crypto/rand)
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}
