package patch

import (
	"errors"
	"fmt"
)

// Header is what decides from sums.bin: the valid header slot with the highest
// epoch.
type Header struct {
	Store  UUID
	Epoch  uint64
	Pages  int
	Low    int64
	Digest Digest
	Clean  bool // closed in order: image.bin and sums.bin are durable at Epoch
	App    []byte
}

// Evidence is what Decide may ask about a store's files. Each proof is asked
// for at most once, reads only, and answers nil (proven), a *Defect (disproved)
// or another error (could not be read, which decides nothing: R9).
type Evidence struct {
	Control *Control // nil: control.bin is missing
	Header  *Header  // nil: sums.bin has no valid header
	// LengthBetween: image.bin is no shorter than the smaller and no longer
	// than the larger page count of the record.
	LengthBetween func(*Record) error
	// LengthsExact: image.bin and sums.bin have the lengths of this many pages.
	LengthsExact func(pages int) error
	// Body: the lines and pages of the record's body are whole.
	Body func(*Record) error
	// TableFits: sums.bin with the lines of the record laid over it has the
	// record's new digest.
	TableFits func(*Record) error
	// PatchedImageFits: image.bin with the pages of the record laid over it
	// has the record's new digest.
	PatchedImageFits func(*Record) error
	// ImageFits: the whole of image.bin has this many pages and this digest.
	ImageFits func(pages int, d Digest) error
}

// Step is what recovery does with a store.
type Step int

// The steps, as the table in docs/crash-safety.md has them.
const (
	// Nothing: the store was closed and is whole.
	Nothing Step = iota
	// Apply: write the record again, then its patch.
	Apply
	// RebuildApply: sums.bin is wrong but the image is right: make sums.bin
	// anew from it, then as Apply.
	RebuildApply
	// Proven: the patch is gone but the image is proven to be the record's:
	// write a record without lines, and sums.bin anew.
	Proven
	// Refuse: nothing may be written.
	Refuse
)

// Verdict is the outcome of Decide.
type Verdict struct {
	Step   Step
	Record *Record // to write and apply; nil for Nothing and Refuse
	Reason string  // for the report: why this step
	Err    error   // for Refuse: a *Defect, possibly joined with what disproved
}

// Decide is the recovery table of DESIGN section 5, row for row. It returns an
// error only where a file could not be read.
func Decide(e *Evidence) (Verdict, error) {
	h := e.Header
	if e.Control == nil {
		return refuse(damaged(ControlFile, "missing beside a live sums.bin"))
	}
	best := e.Control.Best()
	if h == nil {
		return decideNoHeader(e)
	}
	if best == nil {
		return refuse(damaged(ControlFile, "no valid commit record beside a live sums.bin"))
	}
	if best.Store != h.Store {
		return refuse(mismatch(ControlFile, "belongs to another store than "+SumsFile, h.Store.String(), best.Store.String()))
	}
	switch {
	case h.Epoch == best.Epoch+1:
		return decideLostRecord(e)
	case h.Epoch == best.Epoch:
		if h.Pages != best.NewPages || h.Digest != best.NewDigest {
			return refuse(disagree(best, h, best.NewPages, best.NewDigest))
		}
		// The body of a closed store is not needed: it is not looked at.
		if h.Clean && e.Control.Slots[1-best.Epoch&1].readable() {
			if done, err := prove(e.LengthsExact(h.Pages)); err != nil || done {
				return Verdict{Step: Nothing, Reason: "closed in order"}, err
			}
		} else if h.Clean {
			return decideBrokenSlot(e)
		}
	case h.Epoch+1 == best.Epoch:
		if h.Pages != best.OldPages || h.Digest != best.OldDigest {
			return refuse(disagree(best, h, best.OldPages, best.OldDigest))
		}
	default:
		return refuse(&Defect{Class: ErrMismatch, File: SumsFile, Page: -1, Offset: -1, Want: fmt.Sprintf("epoch %d or the one before", best.Epoch),
			Got: fmt.Sprintf("epoch %d", h.Epoch), Reason: "does not belong to the commit record"})
	}
	return decidePending(e, best)
}

// decideNoHeader is for a store whose headers are both unreadable. The power
// cut that tears the only header, while it is secured or rewritten, leaves
// that, with the image at the newest record; so does damage to sums.bin.
func decideNoHeader(e *Evidence) (Verdict, error) {
	lost := damaged(SumsFile, "no valid header beside a commit record")
	best := e.Control.Best()
	if best == nil {
		return refuse(lost)
	}
	proof := e.ImageFits(best.NewPages, best.NewDigest)
	whole, err := prove(proof)
	if err != nil || !whole {
		return refuseBecause(err, lost, proof)
	}
	return Verdict{Step: Proven, Record: withoutLines(best), Reason: "the headers of sums.bin are lost, but the image is proven to hold the last checkpoint"}, nil
}

// decidePending is for a record whose patch may be partly in the image.
func decidePending(e *Evidence, best *Record) (Verdict, error) {
	bodyErr := e.Body(best)
	if bodyGood, err := prove(bodyErr); err != nil {
		return Verdict{}, err
	} else if !bodyGood {
		whole, err := prove(e.ImageFits(best.NewPages, best.NewDigest))
		if err != nil || !whole {
			return refuseBecause(err, damaged(MemoryFile,
				fmt.Sprintf("checkpoint %d is acknowledged, but its patch is damaged and the image does not hold all of it", best.Epoch)), bodyErr)
		}
		return Verdict{Step: Proven, Record: withoutLines(best), Reason: "the patch is damaged, but the image is proven to hold it"}, nil
	}
	if err := e.LengthBetween(best); err != nil {
		return refuse(err)
	}
	fits, err := prove(e.TableFits(best))
	if err != nil {
		return Verdict{}, err
	}
	if fits {
		return Verdict{Step: Apply, Record: best, Reason: "a committed patch was pending"}, nil
	}
	imageErr := e.PatchedImageFits(best)
	fits, err = prove(imageErr)
	if err != nil || !fits {
		return refuseBecause(err, damaged(ImageFile, fmt.Sprintf("is not what checkpoint %d was made on", best.Epoch)), imageErr)
	}
	return Verdict{Step: RebuildApply, Record: best, Reason: "a committed patch was pending and sums.bin is damaged; the image with the patch is proven"}, nil
}

// decideBrokenSlot is for a closed store of which the other slot holds bytes
// that are no record: a commit that never became durable leaves that, but so
// does damage to a newer record.
func decideBrokenSlot(e *Evidence) (Verdict, error) {
	h := e.Header
	err := e.LengthsExact(h.Pages)
	if err == nil {
		err = e.ImageFits(h.Pages, h.Digest)
	}
	whole, ioErr := prove(err)
	if ioErr != nil || !whole {
		return refuseBecause(ioErr, damaged(ControlFile, "a commit record is damaged and the image is not proven"), err)
	}
	return Verdict{Step: Nothing, Reason: "closed in order; the other commit record is unfinished, the image is proven"}, nil
}

// decideLostRecord is for a header one epoch above the best record: its record
// was durable before, so it was damaged since.
func decideLostRecord(e *Evidence) (Verdict, error) {
	h := e.Header
	lost := damaged(ControlFile, fmt.Sprintf("the commit record of checkpoint %d, which %s holds, is missing", h.Epoch, SumsFile))
	if e.Control.Slots[h.Epoch&1].Newest() != nil {
		return refuse(lost)
	}
	proof := e.ImageFits(h.Pages, h.Digest)
	whole, err := prove(proof)
	if err != nil || !whole {
		return refuseBecause(err, lost, proof)
	}
	rec := &Record{Store: h.Store, Base: h.Epoch - 1, Epoch: h.Epoch, OldPages: h.Pages, NewPages: h.Pages, Low: h.Low,
		OldDigest: h.Digest, NewDigest: h.Digest, LinesHash: LinesHash(nil), App: h.App}
	return Verdict{Step: Proven, Record: rec, Reason: "the commit record was damaged, but the image is proven to hold its checkpoint"}, nil
}

// readable reports whether each copy of a slot is a record or was never
// written.
func (s Slot) readable() bool { return s.Newest() != nil || s.zero() }

func withoutLines(r *Record) *Record {
	w := *r
	w.Lines, w.BodyOffset, w.LinesHash = 0, 0, LinesHash(nil)
	return &w
}

func disagree(best *Record, h *Header, pages int, d Digest) *Defect {
	return &Defect{Class: ErrMismatch, File: SumsFile, Page: -1, Offset: -1, Want: fmt.Sprintf("%d pages with digest %v", pages, d),
		Got:    fmt.Sprintf("%d pages with digest %v", h.Pages, h.Digest),
		Reason: fmt.Sprintf("header of epoch %d does not fit the commit record of epoch %d", h.Epoch, best.Epoch)}
}

// prove sorts a proof's answer: proven, disproved, or not readable.
func prove(err error) (bool, error) {
	var d *Defect
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &d):
		return false, nil
	default:
		return false, err
	}
}

func refuse(err error) (Verdict, error) {
	return Verdict{Step: Refuse, Err: err, Reason: err.Error()}, nil
}

// refuseBecause refuses with what disproved, unless a read failed.
func refuseBecause(ioErr error, d *Defect, because error) (Verdict, error) {
	if ioErr != nil {
		return Verdict{}, ioErr
	}
	return Verdict{Step: Refuse, Err: errors.Join(d, because), Reason: d.Error()}, nil
}
