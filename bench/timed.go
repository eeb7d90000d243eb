package main

import (
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"loomstore/internal/vfs"
)

// timedFS notes how long the calls that write and sync take, by file.
type timedFS struct {
	vfs.FS
	mu    sync.Mutex
	spent map[string]time.Duration
}

func (t *timedFS) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spent = map[string]time.Duration{}
}

// in returns the milliseconds spent in calls of a kind on a file.
func (t *timedFS) in(file, what string) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.spent[file+" "+what]) / 1e6
}

func (t *timedFS) note(file, what string, start time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spent[file+" "+what] += time.Since(start)
}

func (t *timedFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := t.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &timedFile{f, filepath.Base(name), t}, nil
}

type timedFile struct {
	vfs.File
	name string
	t    *timedFS
}

func (f *timedFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.t.note(f.name, "write", time.Now())
	return f.File.WriteAt(p, off)
}

func (f *timedFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	defer f.t.note(f.name, "write", time.Now())
	return f.File.WriteVec(bufs, off)
}

func (f *timedFile) Sync() error {
	defer f.t.note(f.name, "sync", time.Now())
	return f.File.Sync()
}
