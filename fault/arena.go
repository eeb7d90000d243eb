package fault

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// PageSize is the size of a page of the arena in bytes.
const PageSize = guard.PageSize

// Config describes an arena to be tracked.
type Config struct {
	Kind Kind // "" means Auto
	// Region is the arena: mapped from end to end, readable and writable, a
	// multiple of PageSize long.
	Region *mapping.Region
	// Mapped is the number of leading pages that are a private mapping of
	// image.bin; the others are anonymous.
	Mapped int
	// Shared says that the whole arena is a shared mapping of a scratch file.
	Shared bool
	// Reference answers what the committed state is.
	Reference Reference
	// Guard asks for a guard page. The first Ward places it.
	Guard bool
}

func (cfg *Config) check() error {
	r := cfg.Region
	switch {
	case r == nil || cfg.Reference == nil:
		return fmt.Errorf("open without region or reference: %w", ErrConfig)
	case r.Len() == 0 || r.Len()%PageSize != 0:
		return fmt.Errorf("arena of %d bytes, not a multiple of %d: %w", r.Len(), PageSize, ErrConfig)
	case cfg.Mapped < 0 || cfg.Mapped > r.Len()/PageSize:
		return fmt.Errorf("%d file pages in an arena of %d: %w", cfg.Mapped, r.Len()/PageSize, ErrConfig)
	case PageSize%mapping.SystemPage() != 0:
		return fmt.Errorf("pages of %d bytes on a system with pages of %d: %w", PageSize, mapping.SystemPage(), errors.ErrUnsupported)
	}
	return nil
}

// Arena is an arena whose stores are tracked.
//
// SetWatermarks, Ward, Touch, Mark, MarkAll, GuardPage, Exhausted and Stats
// may be called by many goroutines while the program stores. All other methods
// need it stopped: nobody stores into the arena, and no other method runs.
type Arena struct {
	region *mapping.Region
	pages  int
	mapped int
	shared bool
	ref    Reference

	kind    Kind
	reason  string
	tracker tracker
	slot    *slot // what the fault handler knows; a private one where no handler is needed

	guarded bool       // Config.Guard
	ward    sync.Mutex // one Ward at a time; the handler takes no lock
	warded  bool       // a guard was placed once: Collect sees to it that it stays
	moves   uint64     // slot.moves when the protections were last put right

	rebuilds atomic.Uint64
	compared atomic.Uint64
}

// Open begins to track stores into the region: every page counts as clean,
// whatever was stored before. The program must be stopped.
//
// A kind that this system does not have, or a guard without a fault handler,
// is an error that wraps errors.ErrUnsupported; a fault handler that can not
// be shared is ErrForeignHandler. Auto goes on to the next kind instead.
func Open(cfg Config) (*Arena, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("track arena: %w", err)
	}
	if cfg.Kind != Auto && cfg.Kind != "" {
		return open(cfg, cfg.Kind, "asked for")
	}
	var passed error
	for _, c := range candidates {
		reason := c.reason
		if passed != nil {
			reason = fmt.Sprintf("%s; passed over: %v", reason, passed)
		}
		a, err := open(cfg, c.kind, reason)
		if err == nil {
			return a, nil
		}
		passed = errors.Join(passed, err)
	}
	return nil, passed
}

func open(cfg Config, kind Kind, reason string) (_ *Arena, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("track arena by %s: %w", kind, err)
		}
	}()
	if mapping.OnHeap && (kind != Compare || cfg.Guard) {
		return nil, fmt.Errorf("an arena on the Go heap can only be compared: %w", errors.ErrUnsupported)
	}
	a := &Arena{
		region:  cfg.Region,
		pages:   cfg.Region.Len() / PageSize,
		mapped:  cfg.Mapped,
		shared:  cfg.Shared,
		ref:     cfg.Reference,
		kind:    kind,
		reason:  reason,
		slot:    &slot{},
		guarded: cfg.Guard,
	}
	handled := cfg.Guard || kind == Mprotect
	if handled {
		if a.slot, err = claimSlot(); err != nil {
			return nil, err
		}
	}
	a.slot.guard.Store(guard.None)
	a.slot.high.Store(int64(a.region.Len()))
	if a.tracker, err = newTracker(kind, a); err != nil {
		releaseSlot(a.slot)
		return nil, err
	}
	if handled {
		publish(a.slot, a.region.Base(), a.region.Len())
	}
	return a, nil
}

// Close ends the tracking. The arena keeps the protections it has: the next
// step is to release its region. The program must be stopped for good.
func (a *Arena) Close() error {
	releaseSlot(a.slot)
	a.slot = &slot{}
	a.slot.guard.Store(guard.None)
	return a.tracker.close()
}

// Kind returns the tracker in use, never Auto.
func (a *Arena) Kind() Kind { return a.kind }

// Reason says in words why this tracker is in use.
func (a *Arena) Reason() string { return a.reason }

// Stats counts what happened since Open.
type Stats struct {
	Faults     uint64 // faults that the handler resolved
	Overflows  uint64 // times it ran into the limit of memory areas and opened all pages
	GuardMoves uint64 // guard pages it moved
	Rebuilds   uint64 // times that uffd began anew and compared, after an error or a lost registration
	Compared   uint64 // times that it compared because it could not begin anew
}

// Stats returns the counts so far. They are read one by one while the program
// runs.
func (a *Arena) Stats() Stats {
	return Stats{
		Faults:     a.slot.faults.Load(),
		Overflows:  a.slot.overflows.Load(),
		GuardMoves: a.slot.moves.Load(),
		Rebuilds:   a.rebuilds.Load(),
		Compared:   a.compared.Load(),
	}
}
