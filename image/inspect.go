package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"loomstore/patch"
)

// Layout says whose files a directory holds.
type Layout string

// The layouts.
const (
	LayoutLoom Layout = "loom" // ours, live
	LayoutHalf Layout = "half" // ours, creation or import not finished
	LayoutVere Layout = "vere" // a snapshot of vere's, to be imported
)

// Info is what the files of a store say, without looking at every page.
type Info struct {
	Dir     string
	Layout  Layout
	State   State         // of the newest checkpoint that Open would give
	Clean   bool          // closed in order: Open has nothing to do
	Record  *patch.Record // newest commit record, nil if there is none
	Applied uint64        // epoch of the newest header of sums.bin
	Lengths map[string]int64
	Plan    Report // what Open would do; ActionRefused with the reason in Err
	Err     error  // why Open would refuse, else nil
}

// inspectTries is how often Inspect looks before it believes a refusal.
const inspectTries = 3

// Inspect reads a directory. It never writes, takes no lock and creates
// nothing, so beside a live writer what it reads may be a moment old; then a
// plan to apply means only that an apply is under way. ErrNotStore where there
// is nothing.
func Inspect(ctx context.Context, dir string, options *Options) (*Info, error) {
	o := options.withDefaults()
	dir, err := Resolve(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if err := storeExists(o, dir); err != nil {
		return nil, err
	}
	info := &Info{Dir: dir, Layout: LayoutLoom, Lengths: map[string]int64{}}
	for _, name := range []string{patch.ControlFile, patch.MemoryFile, patch.ImageFile, patch.SumsFile} {
		if st, err := o.FS.Stat(filepath.Join(dir, name)); err == nil {
			info.Lengths[name] = st.Size()
		}
	}
	o.Create = true // so that a half-created store has a plan
	var r *reading
	for try := 1; ; try++ {
		if r, err = examine(ctx, o, dir); err == nil {
			info.Plan, info.Err = r.plan(dir)
		} else {
			info.Plan, info.Err = Report{Action: ActionRefused, Reason: err.Error()}, fmt.Errorf("%s: %w", dir, err)
		}
		// A live writer may have gone on between the reading of two files.
		if info.Err == nil || try == inspectTries {
			break
		}
		r.close()
	}
	if r == nil {
		return info, nil
	}
	defer r.close()
	switch r.x.kind {
	case kindHalfCreated, kindHalfMade:
		info.Layout = LayoutHalf
	case kindVere:
		info.Layout = LayoutVere
		info.State.Pages = info.Plan.Pages
	case kindNative:
		info.fromNative(r.x)
	}
	return info, nil
}

func (info *Info) fromNative(x *examination) {
	if h := x.header; h != nil {
		info.Applied, info.Clean = h.Epoch, h.Clean && x.verdict.Step == patch.Nothing
		info.State = State{Store: h.Store, Epoch: h.Epoch, Pages: h.Pages, Low: h.Low, Digest: h.Digest, App: h.App}
	}
	if x.control == nil {
		return
	}
	info.Record = x.control.Best()
	if r := x.verdict.Record; r != nil {
		info.State = stateOf(r)
	}
}

// Patches is what control.bin and memory.bin hold, for looking at.
type Patches struct {
	Layout  Layout           // LayoutLoom or LayoutVere
	Records []RecordAt       // empty in a vere snapshot
	Lines   []patch.Line     // of the newest record, nil if the body is bad
	Vere    *patch.VerePatch // of a vere snapshot, for its lines; nil if there is none that is good
	BodyErr error            // why Lines or Vere is nil, if one is to be expected
}

// RecordAt is one of the four blocks of control.bin.
type RecordAt struct {
	Offset int64
	Record *patch.Record // nil: none
	Zero   bool          // never written
}

// InspectPatches reads the commit records and the lines of the newest. It
// never writes and takes no lock.
func InspectPatches(dir string, options *Options) (*Patches, error) {
	o := options.withDefaults()
	dir, err := Resolve(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if err := storeExists(o, dir); err != nil {
		return nil, err
	}
	r := &reading{o: o, ctx: context.Background(), x: new(examination)}
	defer r.close()
	if err := r.open(dir); err != nil {
		return nil, err
	}
	if _, ours, err := r.ownControl(); err != nil {
		return nil, err
	} else if r.sums == nil && !ours {
		return r.verePatches(dir)
	}
	if r.control == nil {
		return nil, &patch.Defect{Class: patch.ErrDamaged, File: patch.ControlFile, Page: -1, Offset: -1, Reason: "missing"}
	}
	control, err := patch.ReadControl(r.control, r.controlLen, o.Geometry)
	if err != nil {
		return nil, err
	}
	p := &Patches{Layout: LayoutLoom}
	for slot := range control.Slots {
		for c, copied := range control.Slots[slot] {
			p.Records = append(p.Records, RecordAt{Offset: patch.CopyOffset(uint64(slot), c), Record: copied.Record, Zero: copied.Zero})
		}
	}
	best := control.Best()
	if best == nil {
		return p, nil
	}
	var body *patch.Body
	if r.memory == nil && best.Lines > 0 {
		p.BodyErr = &patch.Defect{Class: patch.ErrDamaged, File: patch.MemoryFile, Page: -1, Offset: -1, Reason: "missing"}
	} else if body, p.BodyErr = patch.ReadBody(r.memory, r.memoryLen, best, o.Geometry); p.BodyErr == nil {
		p.Lines = body.Lines
	}
	return p, nil
}

// verePatches is InspectPatches of a vere snapshot.
func (r *reading) verePatches(dir string) (*Patches, error) {
	if err := r.classify(dir); err != nil {
		return nil, err
	}
	p := &Patches{Layout: LayoutVere, Vere: r.x.vere.Patch, BodyErr: r.x.vere.Err}
	if p.Vere == nil && p.BodyErr == nil && r.control != nil {
		p.BodyErr = errors.New(r.x.vere.Reason)
	}
	return p, nil
}
