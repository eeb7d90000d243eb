package loom

import (
	"fmt"
	"log/slog"
	"time"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/fault"
	"loomstore/image"
	"loomstore/internal/vfs"
)

// PageSize is the size of a page of the arena: 16 KiB.
const PageSize = fault.PageSize

// DefaultSize is the size of the arena if Options.Size is 0: 4 GiB of
// addresses, of which only pages in use cost memory.
const DefaultSize = 4 << 30

// maxSize is more than any processor can address.
const maxSize = 1 << 62

// FS is the file system that every durable byte of a store goes through (R7).
type FS = vfs.FS

// IO is a file system in another process, which finishes what it has accepted
// although this one is killed. Package aiodfs makes one of an aiod client.
type IO = vfs.Sequencer

// Options are the choices of Open. The zero value, and nil, are right for most
// programs.
type Options struct {
	// Size of the arena in bytes, a multiple of PageSize; 0 is DefaultSize. It
	// may differ from run to run: only the image has to fit.
	Size int64
	// Tracker finds the dirty pages: fault.Auto (also ""), fault.Uffd,
	// fault.Mprotect, fault.Cow or fault.Compare. Metrics says which one was
	// taken and why.
	Tracker fault.Kind
	// Guard keeps an inaccessible page in the middle of the free space between
	// the watermarks once SetWatermarks was called.
	Guard bool
	// Free reports pages whose content the program does not need: they are not
	// saved, and stay dirty. After Open they hold anything that they held at
	// an earlier checkpoint. Called during Checkpoint, with the program stopped.
	Free func(page int) bool
	// Resident reads the whole image into memory at Open, checked, instead of
	// reading pages when they are touched.
	Resident bool
	// Ephemeral, if not empty, is the path of a scratch file of the arena's
	// size that is mapped instead of private memory, so that the arena may be
	// larger than memory and swap. A file that is there is emptied, but not one
	// of the store's (ErrOptions) or one that another arena is in (ErrLocked).
	// It begins as a copy of the image, is never synced, and is removed by
	// Close. Tracked by uffd it takes 2 MiB of page tables per GiB.
	Ephemeral string
	// DryRun makes Checkpoint count what it would write, and write nothing.
	// Open still recovers.
	DryRun bool
	// VerifyFull hashes the whole image at Open. Without it Open checks what
	// recovery needs; a damaged page is found by ScrubEvery and loomctl verify.
	VerifyFull bool
	// ScrubEvery is how long a round takes in which every page of the store is
	// read and compared with its hash while the program runs, evenly spread:
	// damage is told of (the event Damaged, Metrics, Logger) one round after
	// it happened at the latest, and again in each round. 0 is no such rounds.
	// What the system has in its cache is compared as it is there.
	ScrubEvery time.Duration
	// Validate compares every clean page with the store before and after each
	// checkpoint: a test of the tracker and of the program's discipline. Slow.
	Validate bool
	// NoCreate makes Open fail where there is no store.
	NoCreate bool
	// DiscardDamaged goes on without a patch of vere's that can not be read.
	DiscardDamaged bool
	// PatchKeep is how many bytes of memory.bin Close leaves; 0 is 256 MiB,
	// less than 0 all.
	PatchKeep int64
	// FS replaces the operating system's file system. A file without a
	// descriptor (vfs.File.Fd) can not be mapped: the arena is then resident.
	FS FS
	// IO, if not nil, takes the place of FS: the daemon behind it writes and
	// syncs, and applies each checkpoint that it has committed, also if this
	// process is killed meanwhile. Until that is done the store stays locked.
	// Memory is still mapped from the image, and read, by this process. What is
	// guaranteed is the same without it. Close the Loom before the daemon.
	IO IO
	// Logger hears of what recovery found, and of a file system that is known
	// to lose what it has synced; nil is silent.
	Logger *slog.Logger
	// Events is told of every checkpoint's progress. It is called from the
	// goroutine that does the work, which waits for it: return soon, and do
	// not call the Loom.
	Events func(Event)

	// image carries choices that only tests make.
	image image.Options
}

// Validate reports the first choice that can not be.
func (o *Options) validate() error {
	switch {
	case o.Size < 0 || o.Size > maxSize:
		return fmt.Errorf("loom: arena of %d bytes, from 0 to %d can be: %w", o.Size, int64(maxSize), ErrOptions)
	case o.Size%PageSize != 0:
		return cerrors.WithHint(fmt.Errorf("loom: arena of %d bytes is not a multiple of the page size %d: %w", o.Size, PageSize, ErrOptions),
			fmt.Sprintf("%d is", (o.Size/PageSize+1)*PageSize))
	case o.FS != nil && o.IO != nil:
		return fmt.Errorf("loom: FS and IO exclude each other: %w", ErrOptions)
	case o.ScrubEvery < 0:
		return fmt.Errorf("loom: a scrub every %v: %w", o.ScrubEvery, ErrOptions)
	case o.Resident && o.Ephemeral != "":
		return fmt.Errorf("loom: an arena is resident or ephemeral, not both: %w", ErrOptions)
	}
	switch o.Tracker {
	case "", fault.Auto, fault.Uffd, fault.Mprotect, fault.Cow, fault.Compare:
		return nil
	}
	return fmt.Errorf("loom: unknown tracker %q: %w", o.Tracker, ErrOptions)
}

// imageOptions are the options of the store underneath.
func (o *Options) imageOptions() *image.Options {
	io := o.image
	io.FS, io.Create, io.DiscardDamaged, io.Full = o.FS, !o.NoCreate, o.DiscardDamaged, o.VerifyFull
	if o.IO != nil {
		io.FS = o.IO
	}
	io.MaxPages, io.PatchKeep, io.Logger = int(o.Size/PageSize), o.PatchKeep, o.Logger
	return &io
}

// EventKind says how far a checkpoint has come.
type EventKind string

// The events of a checkpoint, in order. Failed takes the place of the one that
// could not be reached.
const (
	Begun     EventKind = "begun"     // its pages are known
	Committed EventKind = "committed" // it is durable
	Applied   EventKind = "applied"   // it is in image.bin
	Failed    EventKind = "failed"
)

// Damaged is not of a checkpoint: the scrub (Options.ScrubEvery) has found a
// page that does not have its hash, or can not be read. Err says which, and is
// ErrDamaged in the first case.
const Damaged EventKind = "damaged"

// Event is one step of one checkpoint, or a find of the scrub.
type Event struct {
	Kind     EventKind
	Epoch    uint64
	Pages    int           // dirty pages saved
	Bytes    int64         // of page content
	Duration time.Duration // since the checkpoint began; for Applied, of the apply alone
	Err      error         // of Failed and Damaged
}
