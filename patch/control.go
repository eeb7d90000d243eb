package patch

import (
	"errors"
	"fmt"
	"io"
)

// Copy is one of the two copies of a slot of control.bin.
type Copy struct {
	Record *Record // nil: not a valid record for this slot
	Zero   bool    // never written: every byte is zero
}

// Slot holds the records of the even or of the odd epochs.
type Slot [2]Copy

// Newest returns the valid copy with the highest epoch and, within an epoch,
// the highest rewrite number; nil if there is none.
func (s Slot) Newest() *Record {
	var best *Record
	for _, c := range s {
		if r := c.Record; r != nil && (best == nil || r.Epoch > best.Epoch || r.Epoch == best.Epoch && r.Rewrite > best.Rewrite) {
			best = r
		}
	}
	return best
}

// zero reports whether nothing was ever written into the slot.
func (s Slot) zero() bool { return s[0].Zero && s[1].Zero }

// Control is what control.bin holds.
type Control struct{ Slots [2]Slot }

// Best returns the record with the highest epoch, nil if there is none.
func (c *Control) Best() *Record {
	a, b := c.Slots[0].Newest(), c.Slots[1].Newest()
	if a == nil || b != nil && b.Epoch > a.Epoch {
		return b
	}
	return a
}

// Fresh reports whether slot 1 was never written: no checkpoint has been begun
// since the store was made.
func (c *Control) Fresh() bool { return c.Slots[1].zero() }

// ReadControl decodes control.bin from its first ControlSize bytes. A file of
// another length is damaged. Copies that do not decode are not errors: that is
// what the other copy and the other slot are for. A whole copy of another
// version or page size is ErrMismatch.
func ReadControl(r io.ReaderAt, size int64, g Geometry) (*Control, error) {
	if size != ControlSize {
		return nil, &Defect{Class: ErrDamaged, File: ControlFile, Page: -1, Offset: size,
			Want: fmt.Sprintf("%d bytes", ControlSize), Got: fmt.Sprintf("%d bytes", size), Reason: "length"}
	}
	b := make([]byte, ControlSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", ControlFile, err)
	}
	c := new(Control)
	for i := range 4 {
		block := b[i*BlockSize : (i+1)*BlockSize]
		rec, err := UnmarshalRecord(block, g)
		if errors.Is(err, ErrMismatch) {
			return nil, &Defect{Class: ErrMismatch, File: ControlFile, Page: -1, Offset: int64(i * BlockSize), Reason: err.Error()}
		}
		if rec != nil && rec.Epoch&1 != uint64(i/2) {
			rec = nil // whole, but in the wrong place: blocks were moved
		}
		c.Slots[i/2][i%2] = Copy{Record: rec, Zero: allZero(block)}
	}
	return c, nil
}

// CopyOffset is where copy c (0 or 1) of epoch's slot lies in control.bin.
func CopyOffset(epoch uint64, c int) int64 {
	return int64(epoch&1)*2*BlockSize + int64(c)*BlockSize
}

// Torn returns where in control.bin the copies of epoch's slot lie that hold
// bytes and no record of the slot: what is left of a commit that was cut off.
func (c *Control) Torn(epoch uint64) (offsets []int64) {
	for i, held := range c.Slots[epoch&1] {
		if held.Record == nil && !held.Zero {
			offsets = append(offsets, CopyOffset(epoch, i))
		}
	}
	return offsets
}

// SectorSize is the most that a disk writes as one.
const SectorSize = 512

// Rewrites returns the two blocks by which recovery writes rec again, in
// order, each to be synced before the next: first the copy that is invalid or
// has the higher rewrite number, so that at every moment one durable copy is
// whole. Each number is above what it replaces.
func (c *Control) Rewrites(rec *Record) [2]Rewrite {
	slot := c.Slots[rec.Epoch&1]
	number := func(i int) (uint64, bool) {
		r := slot[i].Record
		if r == nil || r.Epoch != rec.Epoch {
			return 0, false
		}
		return r.Rewrite, true
	}
	a, aValid := number(0)
	b, bValid := number(1)
	first := 0
	if aValid && (!bValid || b > a) {
		first = 1
	}
	own, other := a, b
	otherValid := bValid
	if first == 1 {
		own, other, otherValid = b, a, aValid
	}
	n := own
	if otherValid {
		n = max(own, other+1)
	}
	return [2]Rewrite{{Copy: first, Number: n}, {Copy: 1 - first, Number: n + 1}}
}

// Rewrite is one step of writing a record again.
type Rewrite struct {
	Copy   int
	Number uint64
}
