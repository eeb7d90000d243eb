package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// perChunk is how many entries are read and written together: one block.
const perChunk = patch.BlockSize / entrySize

// table is the page hashes of the last committed checkpoint: the part of
// sums.bin behind the headers, read in chunks when first asked for, so that
// opening a large store reads none of it. Safe for concurrent use.
type table struct {
	file     vfs.File
	zeroHash uint64 // of a page of zeros

	mu     sync.Mutex
	onDisk int // entries that sums.bin holds; those above hold zeroHash
	chunks []*[perChunk]uint64
}

func newTable(f vfs.File, g patch.Geometry, pages int) *table {
	t := &table{file: f, zeroHash: zeroHash(g), onDisk: pages}
	t.chunks = make([]*[perChunk]uint64, chunksFor(pages))
	return t
}

// zeroHash is the hash of a page of zeros.
func zeroHash(g patch.Geometry) uint64 { return checksum.Sum64(make([]byte, g.PageSize)) }

func chunksFor(pages int) int { return (pages + perChunk - 1) / perChunk }

// get returns the hash of a page below the committed page count.
func (t *table) get(page int) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.chunk(page / perChunk)
	if err != nil {
		return 0, err
	}
	return c[page%perChunk], nil
}

// first returns the hashes of the pages [0, n).
func (t *table) first(n int) ([]uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	hashes := make([]uint64, n)
	for p := 0; p < n; p += perChunk {
		c, err := t.chunk(p / perChunk)
		if err != nil {
			return nil, err
		}
		copy(hashes[p:], c[:])
	}
	return hashes, nil
}

// load brings in the chunks of all lines and of the pages [from, to), so that
// set can not fail. It runs before the commit point.
func (t *table) load(lines []patch.Line, from, to int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := -1
	for _, l := range lines {
		if c := l.Page / perChunk; c != last {
			last = c
			if _, err := t.chunk(c); err != nil {
				return err
			}
		}
	}
	for c := from / perChunk; c < chunksFor(to); c++ {
		if _, err := t.chunk(c); err != nil {
			return err
		}
	}
	return nil
}

// commit makes the table that of the next checkpoint: pages pages, the lines'
// hashes, zero pages where the image grew without a line. Every chunk it
// touches must be loaded.
func (t *table) commit(lines []patch.Line, oldPages, newPages int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := newPages; p < oldPages; p++ {
		t.chunks[p/perChunk][p%perChunk] = t.zeroHash
	}
	for _, l := range lines {
		t.chunks[l.Page/perChunk][l.Page%perChunk] = l.Hash
	}
	t.onDisk = min(t.onDisk, newPages)
	for len(t.chunks) > chunksFor(newPages) {
		t.chunks = t.chunks[:len(t.chunks)-1]
	}
}

// replace makes the table hold these hashes, for a rebuilt sums.bin.
func (t *table) replace(hashes []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onDisk = 0
	t.chunks = make([]*[perChunk]uint64, chunksFor(len(hashes)))
	for c := range t.chunks {
		chunk := new([perChunk]uint64)
		n := copy(chunk[:], hashes[c*perChunk:])
		for i := n; i < perChunk; i++ {
			chunk[i] = t.zeroHash
		}
		t.chunks[c] = chunk
	}
}

// chunk returns chunk c, reading it if need be. t.mu is held.
func (t *table) chunk(c int) (*[perChunk]uint64, error) {
	for c >= len(t.chunks) {
		t.chunks = append(t.chunks, nil)
	}
	if t.chunks[c] != nil {
		return t.chunks[c], nil
	}
	chunk := new([perChunk]uint64)
	have := min(max(t.onDisk-c*perChunk, 0), perChunk)
	if have > 0 {
		var b [patch.BlockSize]byte
		off := tableOffset + int64(c)*patch.BlockSize
		if _, err := t.file.ReadAt(b[:have*entrySize], off); errors.Is(err, io.EOF) {
			return nil, &patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: off,
				Want: fmt.Sprintf("%d entries", t.onDisk), Reason: "the table is cut off"}
		} else if err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", patch.SumsFile, off, err)
		}
		for i := range have {
			chunk[i] = binary.LittleEndian.Uint64(b[i*entrySize:])
		}
	}
	for i := have; i < perChunk; i++ {
		chunk[i] = t.zeroHash
	}
	t.chunks[c] = chunk
	return chunk, nil
}

// write writes the entries of the chunks in set, ascending, of a table of
// pages pages, neighbours in one call; again says that an earlier attempt may
// have failed.
func (t *table) write(set []int, pages int, again bool) error {
	return t.encode(set, pages, nil, func(b []byte, off int64) error {
		if err := renew(t.file, off, span{off, off + int64(len(b))}.blocks(), again); err != nil {
			return fmt.Errorf("renew %s: %w", patch.SumsFile, err)
		}
		if _, err := t.file.WriteAt(b, off); err != nil {
			return fmt.Errorf("write %s: %w", patch.SumsFile, err)
		}
		return nil
	})
}

// encode is write by any means. The lines are laid over the table: those of a
// checkpoint that is not yet committed, all of whose chunks are loaded.
func (t *table) encode(set []int, pages int, lines []patch.Line, write func(b []byte, off int64) error) error {
	for len(set) > 0 {
		run := 1
		for run < len(set) && set[run] == set[run-1]+1 && run < 256 {
			run++
		}
		first, end := set[0]*perChunk, min((set[run-1]+1)*perChunk, pages)
		b := make([]byte, 0, (end-first)*entrySize)
		t.mu.Lock()
		for p := first; p < end; p++ {
			b = binary.LittleEndian.AppendUint64(b, t.chunks[p/perChunk][p%perChunk])
		}
		t.mu.Unlock()
		for len(lines) > 0 && lines[0].Page < end {
			if l := lines[0]; l.Page >= first {
				binary.LittleEndian.PutUint64(b[(l.Page-first)*entrySize:], l.Hash)
			}
			lines = lines[1:]
		}
		if err := write(b, tableOffset+int64(first)*entrySize); err != nil {
			return err
		}
		set = set[run:]
	}
	return nil
}

// written notes that sums.bin holds pages entries.
func (t *table) written(pages int) {
	t.mu.Lock()
	t.onDisk = pages
	t.mu.Unlock()
}
