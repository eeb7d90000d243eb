package image_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"loomstore/internal/vfs"
)

// clocked is a file system that adds up how long the calls of each kind on
// each file took. Calls that overlap count each in full.
type clocked struct {
	vfs.FS
	mu    sync.Mutex
	spent map[string]time.Duration
}

func (c *clocked) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &clockedFile{File: f, c: c, name: strings.TrimSuffix(filepath.Base(name), ".bin")}, nil
}

// take returns what was spent since the last call, longest first, by kind and file.
func (c *clocked) take() map[string]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	spent := c.spent
	c.spent = nil
	return spent
}

// table is spent as text, longest first, what took less than a hundredth of
// total left out.
func table(spent map[string]time.Duration, total time.Duration) string {
	var keys []string
	for k, d := range spent {
		if d > total/100 {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return spent[keys[i]] > spent[keys[j]] })
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %.2f", k, float64(spent[k])/1e6)
	}
	return strings.Join(keys, ", ")
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
		f.c.spent = map[string]time.Duration{}
	}
	f.c.spent[string(kind)+" "+f.name] += took
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

func (f *clockedFile) CloneFrom(src vfs.File) error {
	if s, ok := src.(*clockedFile); ok {
		src = s.File
	}
	defer f.note(vfs.Clone, time.Now())
	return f.File.CloneFrom(src)
}
