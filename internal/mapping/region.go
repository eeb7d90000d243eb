package mapping

import (
	"errors"
	"fmt"
)

// Prot is the protection of a range of pages.
type Prot int

// The protections a page can have.
const (
	None      Prot = iota // no access: a reservation or a guard page
	Read                  // loads only
	ReadWrite             // loads and stores
)

// Advice is a hint about a range of pages, as madvise(2) takes it.
type Advice int

// The hints that the engine gives.
const (
	// DontNeed drops the pages: private file pages read the file again,
	// anonymous pages read as zero.
	DontNeed Advice = iota
	// NoHugePage keeps the kernel from making one store dirty 512 pages.
	NoHugePage
	// Random switches read-ahead off.
	Random
	// PopulateRead brings pages in without making private copies.
	PopulateRead
	// DontFork leaves the range out of a forked child.
	DontFork
)

// ErrRange reports an offset or length outside a Region or View, or one that
// is not a multiple of the system's page size where it must be.
var ErrRange = errors.New("mapping: offset or length out of range")

// Region is a reserved range of addresses. Its methods are not safe for
// concurrent use on overlapping parts; loads and stores into its bytes follow
// the ordinary rules of shared memory.
type Region struct {
	whole []byte // as returned by mmap, alignment slack included
	bytes []byte // the aligned part that users see
}

// Bytes returns the whole range. Touching a part that is not mapped faults.
func (r *Region) Bytes() []byte { return r.bytes }

// Len returns the length in bytes.
func (r *Region) Len() int { return len(r.bytes) }

// check bounds a page-aligned part of the region.
func (r *Region) check(what string, off, n int) error {
	if off < 0 || n < 0 || off > len(r.bytes) || n > len(r.bytes)-off || off%SystemPage() != 0 {
		return fmt.Errorf("%s [%d, +%d) of %d bytes: %w", what, off, n, len(r.bytes), ErrRange)
	}
	return nil
}
