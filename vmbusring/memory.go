package vmbusring

import (
	"fmt"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// PageSize is the unit of ring sizes and, in files and dumps, the length of
// the control page. It is not the system's page size.
const PageSize = 4096

// Byte offsets of the words of the control page.
const (
	offIn            = 0
	offOut           = 4
	offInterruptMask = 8
	offPending       = 12
	offFeatures      = 64
)

// FeaturePending in a ring's feature bits says that its writer sets a pending
// send size, and as the reader of the other ring honours one.
const FeaturePending = 1

// maxRing is the largest size that 32-bit indices reach.
const maxRing = 1<<32 - PageSize

// Memory is the memory of one ring. Both ends may live in one process, or in
// two, or one of them outside of this machine's control: whatever is loaded
// from it is hostile.
type Memory interface {
	// Control returns the words of the control page.
	Control() Control
	// Size returns the length of the data area in bytes.
	Size() int
	// Run returns the data area from off, 0 <= off < Size, to the end of the
	// contiguous piece that off lies in. Pieces begin at multiples of 8 and
	// are aligned to 8.
	Run(off int) []byte
}

// Control is the control page of a ring. Each word has one owner.
type Control struct {
	In              *atomic.Uint32 // writer's: offset of the next packet to be written
	Out             *atomic.Uint32 // reader's: offset of the next packet to be read
	InterruptMask   *atomic.Uint32 // reader's: not 0 means "do not signal me for new packets"
	PendingSendSize *atomic.Uint32 // writer's: free bytes it waits for, or 0
	FeatureBits     *atomic.Uint32 // writer's
}

func controlOf(page *mapping.View) Control {
	return Control{
		In:              page.Uint32(offIn),
		Out:             page.Uint32(offOut),
		InterruptMask:   page.Uint32(offInterruptMask),
		PendingSendSize: page.Uint32(offPending),
		FeatureBits:     page.Uint32(offFeatures),
	}
}

// Flat is ring memory in one contiguous piece: a control page, then the data.
type Flat struct {
	control Control
	data    []byte
}

// NewFlat returns zeroed memory on the heap for a ring of size data bytes: an
// empty ring. For tests, fake hosts and peers in one process.
func NewFlat(size int) (*Flat, error) {
	if err := checkSize(size); err != nil {
		return nil, err
	}
	return Over(mapping.NewHeap(PageSize+size).Bytes(), PageSize)
}

// Over returns the ring that lies in mem: a control page of controlSize bytes,
// then the data. UIO control pages are as long as a page of the system, those
// of files and dumps PageSize. mem must be aligned to 8 and outlive the ring.
func Over(mem []byte, controlSize int) (*Flat, error) {
	if controlSize < PageSize || controlSize > len(mem) {
		return nil, fmt.Errorf("ring over %d bytes with a control page of %d: %w", len(mem), controlSize, ErrInvalid)
	}
	if err := checkSize(len(mem) - controlSize); err != nil {
		return nil, err
	}
	page, err := mapping.Over(mem[:controlSize])
	if err != nil {
		return nil, fmt.Errorf("ring over %d bytes: %w", len(mem), err)
	}
	return &Flat{control: controlOf(page), data: mem[controlSize:]}, nil
}

// Control returns the words of the control page.
func (f *Flat) Control() Control { return f.control }

// Size returns the length of the data area in bytes.
func (f *Flat) Size() int { return len(f.data) }

// Run returns the data area from off to its end.
func (f *Flat) Run(off int) []byte { return f.data[off:] }

// Paged is ring memory in pages that do not lie side by side, as a guest
// shares it with a host (GPADL).
type Paged struct {
	control Control
	pages   [][]byte
}

// NewPaged returns the ring whose control page and data pages are these, each
// PageSize long and aligned to 8. The first page is the control page.
func NewPaged(pages ...[]byte) (*Paged, error) {
	if err := checkSize((len(pages) - 1) * PageSize); err != nil {
		return nil, err
	}
	var control *mapping.View
	for i, page := range pages {
		view, err := mapping.Over(page)
		if err != nil {
			return nil, fmt.Errorf("ring page %d: %w", i, err)
		}
		if len(page) != PageSize {
			return nil, fmt.Errorf("ring page %d of %d bytes, expected %d: %w", i, len(page), PageSize, ErrInvalid)
		}
		if i == 0 {
			control = view
		}
	}
	return &Paged{control: controlOf(control), pages: pages[1:]}, nil
}

// Control returns the words of the control page.
func (p *Paged) Control() Control { return p.control }

// Size returns the length of the data area in bytes.
func (p *Paged) Size() int { return len(p.pages) * PageSize }

// Run returns the rest of the page that off lies in.
func (p *Paged) Run(off int) []byte { return p.pages[off/PageSize][off%PageSize:] }

func checkSize(size int) error {
	if size <= 0 || uint64(size) > maxRing || size%PageSize != 0 {
		return fmt.Errorf("ring of %d bytes, expected a multiple of %d up to %d: %w", size, PageSize, uint64(maxRing), ErrInvalid)
	}
	return nil
}
