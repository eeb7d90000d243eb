package fault

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// The interface of PAGEMAP_SCAN, as linux/fs.h has it.
const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	scanRearm      = 1 << 0 // PM_SCAN_WP_MATCHING: write-protect what is reported
	scanRegistered = 1 << 1 // PM_SCAN_CHECK_WPASYNC: fail where userfaultfd does not see stores

	categoryWritten = 1 << 1
	categoryFile    = 1 << 2
	categoryPresent = 1 << 3
	categorySwapped = 1 << 4
	categoryZero    = 1 << 5 // the page of zeros that the kernel shares among all
)

// query is a state that pages can be in: all categories of mask but those of
// absent, and, if there are any, one of either.
type query struct {
	flags                uint64
	mask, absent, either uint64
}

var (
	// isPrivate: pages that have memory of their own. The categories are the
	// bits that pagemap.go reads where there is no scan.
	isPrivate = query{mask: categoryFile, absent: categoryFile, either: categoryPresent | categorySwapped}
	// isWritten: private pages that were stored to since they were armed. Pages
	// without memory also count as written for the kernel, hence either.
	isWritten = query{
		flags: scanRegistered,
		mask:  categoryWritten | categoryFile, absent: categoryFile, either: categoryPresent | categorySwapped,
	}
	// isWrittenShared: the same of a shared mapping, where a page that was
	// stored to can be without memory: it was written to its file and evicted.
	isWrittenShared = query{flags: scanRegistered, mask: categoryWritten}
)

// rearming returns the query that also protects what it reports, in one step.
func (q query) rearming() query {
	q.flags |= scanRearm
	return q
}

// scanner asks the kernel for the pages of a region in some state.
type scanner struct {
	file   *os.File // /proc/self/pagemap
	region *mapping.Region
	found  *mapping.Region // where the kernel reports: a Go stack could move
	room   int             // reports that fit
}

// pageRegion is one report: addresses, and the categories asked for.
type pageRegion struct{ start, end, categories uint64 }

// scanArg is struct pm_scan_arg.
type scanArg struct {
	size, flags                     uint64
	start, end, walkEnd             uint64
	vec, vecLen, maxPages           uint64
	inverted, mask, anyOf, returned uint64
}

const foundSize = 64 << 10

func newScanner(f *os.File, r *mapping.Region) (*scanner, error) {
	found, err := mapping.Reserve(foundSize, mapping.SystemPage())
	if err != nil {
		return nil, err
	}
	if err := found.MapAnon(0, foundSize, mapping.ReadWrite); err != nil {
		_ = found.Release()
		return nil, err
	}
	return &scanner{file: f, region: r, found: found, room: foundSize / int(unsafe.Sizeof(pageRegion{}))}, nil
}

func (s *scanner) close() {
	if s != nil {
		_ = s.found.Release() // nobody needs to know
	}
}

// scan visits the runs of pages of [lo, hi) of which any part is in the state,
// from the lowest to the highest. A page whose parts differ may be visited
// again by the next run. Parts that show the shared page of zeros come in runs
// of their own: most were only read, but the kernel may also have found that
// what was stored is all zeros.
//
// After an error of a re-arming scan pages may have been armed that were not
// reported.
func (s *scanner) scan(q query, lo, hi int, visit func(lo, hi int, zero bool)) error {
	base := uint64(s.region.Base())
	reports := unsafe.Slice((*pageRegion)(unsafe.Pointer(unsafe.SliceData(s.found.Bytes()))), s.room)
	arg := scanArg{
		size:  uint64(unsafe.Sizeof(scanArg{})),
		flags: q.flags,
		start: base + uint64(lo)*PageSize, end: base + uint64(hi)*PageSize,
		vec: uint64(s.found.Base()), vecLen: uint64(s.room),
		inverted: q.absent, mask: q.mask, anyOf: q.either, returned: categoryZero,
	}
	for arg.start < arg.end {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, s.file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return fmt.Errorf("scan page tables: %w", errno)
		}
		for _, r := range reports[:n] {
			visit(int((r.start-base)/PageSize), int((r.end-base+PageSize-1)/PageSize), r.categories&categoryZero != 0)
		}
		if arg.walkEnd <= arg.start {
			return errors.New("scan page tables: the kernel makes no progress")
		}
		arg.start = arg.walkEnd
	}
	return nil
}
