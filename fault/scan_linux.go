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
// absent, and, if there are any, one of either; and which categories, of the
// pages that are, the answer tells.
type query struct {
	flags                      uint64
	mask, absent, either, tell uint64
}

// isPrivate: pages that have memory of their own. The categories are the bits
// that pagemap.go reads where there is no scan.
var isPrivate = query{mask: categoryFile, absent: categoryFile, either: categoryPresent | categorySwapped}

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

// scan visits the runs of parts of [lo, hi) that are in the state, from the
// lowest to the highest. A part is a page of the system's. Parts that differ in
// the categories that the query wants told come in runs of their own.
//
// After an error of a re-arming scan parts may have been armed that were not
// reported.
func (s *scanner) scan(q query, lo, hi int, visit func(lo, hi int, is uint64)) error {
	for lo < hi {
		next, err := s.ask(q, lo, hi, 0, visit)
		if err != nil {
			return err
		}
		if next <= lo {
			return errors.New("scan page tables: the kernel makes no progress")
		}
		lo = next
	}
	return nil
}

// ask is one call of scan, for no more than most parts; 0 is as many as can be
// reported. It returns where it ended.
func (s *scanner) ask(q query, lo, hi, most int, visit func(lo, hi int, is uint64)) (next int, err error) {
	base, size := uint64(s.region.Base()), uint64(mapping.SystemPage())
	arg := scanArg{
		size:  uint64(unsafe.Sizeof(scanArg{})),
		flags: q.flags,
		start: base + uint64(lo)*size, end: base + uint64(hi)*size,
		vec: uint64(s.found.Base()), vecLen: uint64(s.room), maxPages: uint64(most),
		inverted: q.absent, mask: q.mask, anyOf: q.either, returned: q.tell,
	}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, s.file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return lo, fmt.Errorf("scan page tables: %w", errno)
	}
	reports := unsafe.Slice((*pageRegion)(unsafe.Pointer(unsafe.SliceData(s.found.Bytes()))), s.room)
	for _, r := range reports[:n] {
		visit(int((r.start-base)/size), int((r.end-base)/size), r.categories)
	}
	return int((arg.walkEnd - base) / size), nil
}
