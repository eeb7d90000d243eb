package fault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"loomstore/internal/mapping"
)

// The bits of an entry of /proc/self/pagemap that are looked at. Anonymous
// memory is present or swapped and not of a file. A file page that is being
// migrated shows as swapped and of the file, so the last bit always counts.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageFile    = 1 << 61
)

// pagemapChunk is how many pages one read of the page tables covers, and
// scanChunk one scan.
const (
	pagemapChunk = 2048
	scanChunk    = 1 << 16
)

// pagemap tells which pages of an arena are private: copies of image pages,
// and pages without a file that were ever accessed. It scans the page tables
// where the kernel can (Linux 6.7), else it reads them. A nil *pagemap can not
// tell, and takes every page for private.
type pagemap struct {
	file  *os.File
	first int64 // offset of the arena's first entry
	buf   []byte

	scanner *scanner // nil if the kernel has no such call
	wanted  query    // what is scanned for
}

// openPagemap fails where the system has no such file or refuses it, as it
// does to processes that may not be dumped, and where what it says is not true.
func openPagemap(a *Arena) (*pagemap, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("page tables: %w (%w)", errors.ErrUnsupported, err)
	}
	scans, err := probe(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	m := newPagemap(f, a.region)
	if scans {
		if m.scanner, err = newScanner(f, a.region); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return m, nil
}

// parts is how many pages of the system's make a page.
func parts() int { return PageSize / mapping.SystemPage() }

func newPagemap(f *os.File, r *mapping.Region) *pagemap {
	return &pagemap{
		file:   f,
		first:  int64(r.Base()) / int64(mapping.SystemPage()) * 8,
		buf:    make([]byte, pagemapChunk*parts()*8),
		wanted: isPrivate,
	}
}

// probe tells whether the page tables know of a store, and whether a scan does:
// under an emulator they may be those of other addresses, and every store would
// go unseen.
func probe(f *os.File) (scans bool, err error) {
	r, err := mapping.Reserve(2*PageSize, PageSize)
	if err != nil {
		return false, err
	}
	defer r.Release()
	if err := r.MapAnon(0, 2*PageSize, mapping.ReadWrite); err != nil {
		return false, err
	}
	reads, scanning := newPagemap(f, r), newPagemap(f, r)
	if scanning.scanner, err = newScanner(f, r); err != nil {
		return false, err
	}
	defer scanning.scanner.close()
	if err := reads.probe(0, r.Bytes()); err != nil {
		return false, err
	}
	return scanning.probe(1, r.Bytes()) == nil, nil
}

// probe stores into a page of mem that was never touched.
func (m *pagemap) probe(page int, mem []byte) error {
	before, err := m.chunk(nil, page, page+1)
	if err != nil {
		return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	mem[(page+1)*PageSize-1] = 1
	after, err := m.chunk(nil, page, page+1)
	if err != nil || len(before) != 0 || len(after) != 1 {
		return fmt.Errorf("page tables do not show a store (before %v, after %v): %w", before, after, errors.ErrUnsupported)
	}
	return nil
}

func (m *pagemap) close() {
	if m != nil {
		m.scanner.close()
		_ = m.file.Close() // was only read
	}
}

// window is how many pages are looked at in one go.
func (m *pagemap) window() int {
	if m != nil && m.scanner != nil {
		return scanChunk
	}
	return pagemapChunk
}

// ascend visits the private pages of [lo, hi) from the lowest to the highest.
func (m *pagemap) ascend(lo, hi int, visit func(page int)) error {
	var private []int
	var err error
	for n := m.window(); lo < hi; lo += n {
		if private, err = m.chunk(private[:0], lo, min(lo+n, hi)); err != nil {
			return err
		}
		for _, p := range private {
			visit(p)
		}
	}
	return nil
}

// highest returns the highest private page of [lo, hi) that is wanted, or -1.
func (m *pagemap) highest(lo, hi int, wanted func(page int) bool) (int, error) {
	var private []int
	var err error
	for n := m.window(); lo < hi; hi -= n {
		if m != nil && m.scanner != nil {
			n *= 2 // a scan costs nothing where there is nothing
		}
		if private, err = m.chunk(private[:0], max(lo, hi-n), hi); err != nil {
			return -1, err
		}
		for i := len(private) - 1; i >= 0; i-- {
			if wanted(private[i]) {
				return private[i], nil
			}
		}
	}
	return -1, nil
}

// chunk appends the private pages of [lo, hi), which is no longer than the
// window if the tables are read.
func (m *pagemap) chunk(dst []int, lo, hi int) ([]int, error) {
	if m == nil {
		for p := lo; p < hi; p++ {
			dst = append(dst, p)
		}
		return dst, nil
	}
	if m.scanner != nil {
		next := lo
		err := m.scanner.scan(m.wanted, lo*parts(), hi*parts(), func(lo, hi int, _ uint64) {
			for next = max(next, lo/parts()); next*parts() < hi; next++ {
				dst = append(dst, next)
			}
		})
		return dst, err
	}
	size := parts() * 8
	buf := m.buf[:(hi-lo)*size]
	if _, err := m.file.ReadAt(buf, m.first+int64(lo*size)); err != nil {
		return dst, fmt.Errorf("read page tables: %w", err)
	}
	for p := lo; p < hi; p++ {
		for e := buf[(p-lo)*size : (p-lo+1)*size]; len(e) > 0; e = e[8:] {
			bits := binary.LittleEndian.Uint64(e)
			if bits&(pagePresent|pageSwapped) != 0 && bits&pageFile == 0 {
				dst = append(dst, p)
				break
			}
		}
	}
	return dst, nil
}
