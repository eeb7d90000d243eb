package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// kind is what a directory turned out to hold.
type kind int

const (
	kindEmpty       kind = iota // nothing of ours or vere's
	kindHalfCreated             // a creation that never reached its live mark
	kindHalfMade                // an import that never reached its live mark
	kindNative
	kindVere
)

// examination is what reading a directory found, and what is to be done. It
// never wrote anything.
type examination struct {
	kind    kind
	verdict patch.Verdict     // native: what recovery does
	control *patch.Control    // native: nil if missing
	header  *patch.Header     // native: the live header; nil if it was lost
	body    *patch.Body       // native: the body of the record, if it was read
	hashes  []uint64          // of all pages, if a proof needed them
	vere    patch.VereVerdict // vere: what import does
}

// reading is the four files of a directory, open for reading; nil is absent.
type reading struct {
	o                            *Options
	ctx                          context.Context
	control, memory, image, sums vfs.File
	controlLen, memoryLen        int64
	imageLen, sumsLen            int64
	x                            *examination
}

// examine opens dir's files and decides what they are. An error means that a
// file could not be read, or that what it holds is refused. The caller closes
// the reading.
func examine(ctx context.Context, o *Options, dir string) (*reading, error) {
	r := &reading{o: o, ctx: ctx, x: new(examination)}
	err := r.open(dir)
	if err == nil {
		err = r.classify(dir)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// classify goes through the cases in the order of DESIGN section 4.
func (r *reading) classify(dir string) error {
	north, err := exists(r.o.FS, filepath.Join(dir, "north.bin"))
	if err != nil {
		return err
	}
	south, err := exists(r.o.FS, filepath.Join(dir, "south.bin"))
	if err != nil {
		return err
	}
	if r.control == nil && r.memory == nil && r.image == nil && r.sums == nil && !north && !south {
		return nil
	}
	var hs headers
	if r.sums != nil {
		if hs, err = readHeaders(r.sums, r.sumsLen, r.o.Geometry); err != nil {
			return err
		}
	}
	if hs.newest != nil {
		r.x.kind, r.x.header = kindNative, hs.newest
		return r.native()
	}
	fresh, ours, err := r.ownControl()
	if err != nil {
		return err
	}
	imageEmpty := r.imageLen == 0
	begun := r.sums != nil || r.memory != nil || r.control != nil // more than an empty image of vere's
	switch {
	case begun && imageEmpty && r.sumsLen <= tableOffset && (fresh || r.control == nil && r.memoryLen == 0) && !north && !south:
		r.x.kind = kindHalfCreated
		return nil
	case ours: // without a live mark: an import just before its end, or a lost header
		r.x.kind = kindNative
		if err := r.native(); err != nil {
			return err
		}
		if best := r.x.verdict.Record; best != nil && best.Epoch == 0 && r.x.control.Fresh() {
			r.x.kind = kindHalfMade
		}
		return nil
	case r.sums != nil && (!hs.blank || imageEmpty && r.sumsLen > tableOffset):
		return &patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: 0,
			Want: "a valid header", Reason: "no header of a loom store, but this is one"}
	}
	r.x.kind = kindVere
	files := patch.VereFiles{Image: vereFile(r.image, r.imageLen), Control: vereFile(r.control, r.controlLen),
		Memory: vereFile(r.memory, r.memoryLen), North: north, South: south}
	// An import that was cut off leaves our control.bin with its length and no
	// whole record. Vere's lines are never zeros, so it is none of vere's.
	ownBlank := fresh && r.controlLen == patch.ControlSize
	if ownBlank {
		files.Control = patch.VereFile{}
	}
	r.x.vere, err = patch.DecideVere(files)
	if ownBlank && r.x.vere.Action == patch.VereImport {
		r.x.vere.Aside = append(r.x.vere.Aside, patch.ControlFile)
	}
	return err
}

func vereFile(f vfs.File, size int64) patch.VereFile {
	if f == nil {
		return patch.VereFile{}
	}
	return patch.VereFile{R: f, Size: size}
}

func exists(fsys vfs.FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (r *reading) open(dir string) (err error) {
	for _, f := range []struct {
		name string
		file *vfs.File
		size *int64
	}{
		{patch.ControlFile, &r.control, &r.controlLen}, {patch.MemoryFile, &r.memory, &r.memoryLen},
		{patch.ImageFile, &r.image, &r.imageLen}, {patch.SumsFile, &r.sums, &r.sumsLen},
	} {
		if *f.file, err = openExisting(r.o.FS, dir, f.name, os.O_RDONLY); err != nil {
			return err
		}
		if *f.file == nil {
			continue
		}
		if *f.size, _, err = (*f.file).Size(); err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) close() {
	if r == nil {
		return
	}
	for _, f := range []vfs.File{r.control, r.memory, r.image, r.sums} {
		if f != nil {
			_ = f.Close() // opened for reading: nothing can be lost
		}
	}
}

// ownControl reports whether control.bin holds a commit record of ours, and
// whether it is one in which no checkpoint was ever begun: what a creation cut
// off at any point leaves, garbage in the sectors in flight included.
func (r *reading) ownControl() (fresh, ours bool, err error) {
	if r.control == nil {
		return false, false, nil
	}
	size := r.controlLen
	b := make([]byte, min(size, patch.ControlSize))
	if _, err := r.control.ReadAt(b, 0); err != nil && len(b) > 0 {
		return false, false, fmt.Errorf("read %s: %w", patch.ControlFile, err)
	}
	half := min(len(b), patch.ControlSize/2)
	secondZero := isZero(b[half:])
	fresh = size <= patch.ControlSize && secondZero &&
		(isZero(b) || patch.IsRecord(b) || size == patch.ControlSize)
	for i := 0; i+patch.BlockSize <= len(b); i += patch.BlockSize {
		rec, err := patch.UnmarshalRecord(b[i:i+patch.BlockSize], r.o.Geometry)
		whole := err == nil || errors.Is(err, patch.ErrMismatch)
		if rec != nil && (rec.Epoch != 0 || rec.NewPages != 0) {
			fresh = false // what it stands for must be somewhere
		}
		// A torn record is ours too, but not where none was finished yet.
		ours = ours || whole || !fresh && patch.IsRecord(b[i:])
	}
	return fresh, ours, nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
