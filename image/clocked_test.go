package image_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"loomstore/internal/vfs"
)

func millis(d time.Duration) float64 { return float64(d) / 1e6 }

// clocked is a file system that adds up how long the calls of each kind on
// each file took. Calls that overlap count each in full.
type clocked struct {
	vfs.FS
	mu    sync.Mutex
	spent map[call]time.Duration
}

// call is what clocked tells apart.
type call struct {
	kind vfs.Kind
	file string
}

func (c *clocked) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &clockedFile{File: f, c: c, name: strings.TrimSuffix(filepath.Base(name), ".bin")}, nil
}

// take returns what was spent since the last take.
func (c *clocked) take() map[call]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	spent := c.spent
	c.spent = nil
	return spent
}

// breakdown is spent as text, longest first, what took less than a hundredth
// of total left out.
func breakdown(spent map[call]time.Duration, total time.Duration) string {
	calls := slices.SortedFunc(maps.Keys(spent), func(a, b call) int { return cmp.Compare(spent[b], spent[a]) })
	var text []string
	for _, c := range calls {
		if spent[c] > total/100 {
			text = append(text, fmt.Sprintf("%s %s %.2f", c.kind, c.file, millis(spent[c])))
		}
	}
	return strings.Join(text, ", ")
}

type clockedFile struct {
	vfs.File
	c    *clocked
	name string
}

func (f *clockedFile) note(kind vfs.Kind, began time.Time) {
	took := time.Since(began)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.c.spent == nil {
		f.c.spent = map[call]time.Duration{}
	}
	f.c.spent[call{kind, f.name}] += took
}

func (f *clockedFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.note(vfs.Read, time.Now())
	return f.File.ReadAt(p, off)
}

func (f *clockedFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.note(vfs.Write, time.Now())
	return f.File.WriteAt(p, off)
}

func (f *clockedFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	defer f.note(vfs.WriteVec, time.Now())
	return f.File.WriteVec(bufs, off)
}

func (f *clockedFile) Truncate(size int64) error {
	defer f.note(vfs.Truncate, time.Now())
	return f.File.Truncate(size)
}

func (f *clockedFile) Allocate(off, n int64) error {
	defer f.note(vfs.Allocate, time.Now())
	return f.File.Allocate(off, n)
}

func (f *clockedFile) Sync() error {
	defer f.note(vfs.Sync, time.Now())
	return f.File.Sync()
}

func (f *clockedFile) WriteBack(off, n int64) {
	defer f.note(vfs.WriteBack, time.Now())
	f.File.WriteBack(off, n)
}

func (f *clockedFile) NextData(off int64) (int64, error) {
	defer f.note(vfs.Seek, time.Now())
	return vfs.NextData(f.File, off)
}

func (f *clockedFile) CloneFrom(src vfs.File) error {
	if s, ok := src.(*clockedFile); ok {
		src = s.File
	}
	defer f.note(vfs.Clone, time.Now())
	return f.File.CloneFrom(src)
}
