package loom

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"loomstore/fault"
	"loomstore/image"
	"loomstore/internal/mapping"
	"loomstore/internal/vfs"
)

// Loom is an open store with its arena.
type Loom struct {
	o      Options
	store  *image.Store
	report image.Report
	region *mapping.Region
	arena  *fault.Arena

	// mapped is how many leading pages are a private mapping of image.bin;
	// the pages above are anonymous, as the whole arena is when it is 0.
	mapped int
	limbo  *limbo // the scratch file of an ephemeral arena, or nil

	low     atomic.Int64 // low watermark; only meaningful when lowSet
	lowSet  atomic.Bool
	metrics counters

	// op is held by every operation on the store: they wait for each other.
	op      sync.Mutex
	closed  bool
	app     []byte
	high    int   // high watermark of the last committed checkpoint, for Rollback
	dirty   []int // what the last capture found; the next one reuses it
	copies  copies
	capture *Pending
	apply   *applying
	scrub   *scrub // nil if there is none
}

// Open opens the store in dir, creating it if there is none, recovers it if
// the last run did not close it, and maps its last committed checkpoint. dir
// is a directory with image.bin in it or the root of a pier. Only one Loom can
// have a store open. nil options are the defaults.
//
// Errors: ErrOptions, ErrLocked, ErrDamaged, ErrMismatch, ErrNoSpace,
// ErrNotStore; errors.ErrUnsupported on systems without this kind of memory;
// and what the file system says. A refusal changes nothing (R9).
func Open(dir string, options *Options) (*Loom, error) {
	return OpenContext(context.Background(), dir, options)
}

// OpenContext is Open, whose recovery ends early when ctx is done; the next
// Open begins it again.
func OpenContext(ctx context.Context, dir string, options *Options) (_ *Loom, err error) {
	l := new(Loom)
	if options != nil {
		l.o = *options
	}
	if l.o.Size == 0 {
		l.o.Size = DefaultSize
	}
	if err := l.o.validate(); err != nil {
		return nil, err
	}
	l.o.Resident = l.o.Resident || mapping.OnHeap
	defer func() {
		if err == nil {
			return
		}
		if also := l.release(ctx); also != nil { // a Join without need hides the hint
			err = errors.Join(err, also)
		}
	}()
	if l.region, err = mapping.Reserve(int(l.o.Size), PageSize); err != nil {
		return nil, fmt.Errorf("loom: %w", err)
	}
	if l.store, l.report, err = image.Open(ctx, dir, l.o.imageOptions()); err != nil {
		return nil, fmt.Errorf("loom: open %w", err)
	}
	if l.o.FS == nil && l.o.Logger != nil {
		if hazard := vfs.Hazard(l.store.Dir()); hazard != "" {
			l.o.Logger.Warn("file system", "dir", l.store.Dir(), "hazard", hazard)
		}
	}
	l.app = l.store.State().App
	if err := l.mapArena(ctx); err != nil {
		return nil, fmt.Errorf("loom: map %s: %w", dir, err)
	}
	l.arena, err = fault.Open(fault.Config{
		Kind: l.o.Tracker, Region: l.region, Mapped: l.mapped, Shared: l.limbo != nil,
		Reference: reference{l.store}, Guard: l.o.Guard,
	})
	if err != nil {
		return nil, fmt.Errorf("loom: %w", err)
	}
	l.low.Store(l.store.State().Low)
	l.high = l.region.Len()
	l.startScrub()
	return l, nil
}

// Bytes returns the arena. Its address and length do not change until Close,
// after which it must not be touched.
func (l *Loom) Bytes() []byte { return l.region.Bytes() }

// Report returns what Open found and did.
func (l *Loom) Report() image.Report { return l.report }

// Epoch returns the number of the last committed checkpoint: 0 for a store
// that has none.
func (l *Loom) Epoch() uint64 {
	l.op.Lock()
	defer l.op.Unlock()
	return l.store.State().Epoch
}

// AppRecord returns the application record: what SetAppRecord set, else that
// of the last checkpoint. It is a copy.
func (l *Loom) AppRecord() []byte {
	l.op.Lock()
	defer l.op.Unlock()
	return append([]byte(nil), l.app...)
}

// SetAppRecord sets the record that is committed with the next checkpoint, in
// one step with its pages: a root pointer, a version, a hash. At most
// patch.MaxAppRecord (1024) bytes; more is ErrOptions. b is copied.
func (l *Loom) SetAppRecord(b []byte) error {
	if len(b) > maxAppRecord {
		return fmt.Errorf("loom: application record of %d bytes, at most %d: %w", len(b), maxAppRecord, ErrOptions)
	}
	l.op.Lock()
	defer l.op.Unlock()
	l.app = append([]byte(nil), b...)
	return nil
}

// Close waits for the last checkpoint to be applied, marks the store as closed
// in order, so that the next Open has nothing to do, and gives everything
// back. Stores since the last checkpoint are lost. After Close the arena is
// gone: a touch of it faults.
//
// An error says that the store was not marked; what was acknowledged is
// durable nevertheless, and the next Open recovers. A second Close returns
// ErrClosed.
func (l *Loom) Close() error {
	l.op.Lock()
	defer l.op.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.closed = true
	l.stopScrub()
	ctx := context.Background()
	captureErr := l.settleCapture(ctx)
	applyErr := l.settleApply(ctx)
	return errors.Join(captureErr, applyErr, l.release(ctx))
}

// release gives back what Open has got so far.
func (l *Loom) release(ctx context.Context) error {
	var errs []error
	if l.store != nil {
		errs = append(errs, l.store.Close(ctx))
	}
	if l.arena != nil {
		l.metrics.trackingEnds(l.arena.Stats())
		errs = append(errs, l.arena.Close())
	}
	if l.region != nil {
		errs = append(errs, l.region.Release())
	}
	if l.limbo != nil {
		errs = append(errs, l.limbo.close())
	}
	return errors.Join(errs...)
}

// begin takes the operation lock; end gives it back.
func (l *Loom) begin() error {
	l.op.Lock()
	if l.closed {
		l.op.Unlock()
		return ErrClosed
	}
	return nil
}

func (l *Loom) end() { l.op.Unlock() }
