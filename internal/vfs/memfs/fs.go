package memfs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"loomstore/internal/vfs"
)

// FS is a file system in memory. Its zero value is not usable: see New.
type FS struct {
	mu       sync.Mutex
	root     *dir
	pending  []entryOp
	seq      uint64 // number of the last change
	written  uint64 // what the journal holds: number of the last change before the last successful sync
	capacity int64  // in bytes; 0: no limit
	used     int64  // chunks of files that have a name or are open
	unlocked chan struct{}
}

var (
	_ vfs.FS    = (*FS)(nil)
	_ vfs.Freer = (*FS)(nil)
)

// New returns an empty file system without a limit.
func New() *FS { return &FS{root: new(dir), unlocked: make(chan struct{})} }

// SetCapacity limits the bytes that all files together may have allocated, in
// steps of 4096 bytes a file. 0 means no limit. What goes beyond it is
// syscall.ENOSPC; space that Allocate reserved is taken already, so that
// writing there does not fail.
func (m *FS) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Used returns the bytes that all files together have allocated.
func (m *FS) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used * chunkSize
}

// room returns how many more chunks can be allocated.
func (m *FS) room() int64 {
	if m.capacity == 0 {
		return 1<<63 - 1
	}
	return max(0, m.capacity/chunkSize-m.used)
}

// Free returns the bytes left of the capacity, whatever the directory.
func (m *FS) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacity == 0 {
		return math.MaxInt64, nil
	}
	return m.room() * chunkSize, nil
}

// change does f to in, and keeps count of the space.
func (m *FS) change(in *inode, f func(seq uint64)) {
	m.seq++
	before := in.cur.blocks
	f(m.seq)
	m.used += in.cur.blocks - before
}

// release gives the space of a file back that nobody can reach any more.
func (m *FS) release(in *inode) {
	if !in.linked && in.opens == 0 {
		m.used -= in.cur.blocks
	}
}

func parts(name string) []string {
	clean := filepath.ToSlash(filepath.Clean(name))
	return slices.DeleteFunc(strings.Split(clean, "/"), func(s string) bool { return s == "" || s == "." })
}

// walk finds the node of a name.
func (m *FS) walk(name string) (node, error) {
	var n node = m.root
	for _, part := range parts(name) {
		d, ok := n.(*dir)
		if !ok {
			return nil, syscall.ENOTDIR
		}
		if n = d.cur.get(part); n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent finds the directory that holds a name, and the name's last part.
func (m *FS) parent(name string) (*dir, string, error) {
	path := parts(name)
	if len(path) == 0 {
		return nil, "", syscall.EBUSY
	}
	last := path[len(path)-1]
	n, err := m.walk(strings.Join(path[:len(path)-1], "/"))
	if err != nil {
		return nil, "", err
	}
	d, ok := n.(*dir)
	if !ok {
		return nil, "", syscall.ENOTDIR
	}
	return d, last, nil
}

// enter does the changes of one directory operation.
func (m *FS) enter(changes ...change) {
	m.seq++
	for _, c := range changes {
		if old, ok := c.dir.cur.get(c.name).(*inode); ok {
			old.linked = false
			defer m.release(old)
		}
		c.dir.cur.set(c.name, c.to)
		if in, ok := c.to.(*inode); ok {
			in.linked = true
		}
	}
	m.pending = append(m.pending, entryOp{m.seq, changes})
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile is as in vfs.FS. O_APPEND is syscall.EINVAL.
func (m *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.open(name, flag, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return f, nil
}

func (m *FS) open(name string, flag int, perm fs.FileMode) (*file, error) {
	if flag&os.O_APPEND != 0 {
		return nil, syscall.EINVAL
	}
	n, err := m.walk(name)
	switch {
	case err == syscall.ENOENT && flag&os.O_CREATE != 0:
		d, last, err := m.parent(name)
		if err != nil {
			return nil, err
		}
		n = &inode{name: name, perm: perm.Perm()}
		m.enter(change{d, last, n})
	case err != nil:
		return nil, err
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, syscall.EEXIST
	}
	in, ok := n.(*inode)
	if !ok {
		return nil, syscall.EISDIR
	}
	if flag&os.O_TRUNC != 0 && (in.cur.size > 0 || in.cur.blocks > 0) {
		m.change(in, func(seq uint64) { in.truncate(seq, 0) })
	}
	in.opens++
	return &file{fs: m, in: in, name: name, access: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)}, nil
}

// Remove removes a file or an empty directory.
func (m *FS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pathError("remove", name, m.remove(name))
}

func (m *FS) remove(name string) error {
	d, last, err := m.parent(name)
	if err != nil {
		return err
	}
	switch n := d.cur.get(last).(type) {
	case nil:
		return syscall.ENOENT
	case *dir:
		if len(n.cur) > 0 {
			return syscall.ENOTEMPTY
		}
	}
	m.enter(change{d, last, nil})
	return nil
}

// Rename is one step, also for a power cut.
func (m *FS) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(oldname, newname); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

func (m *FS) rename(oldname, newname string) error {
	from, oldLast, err := m.parent(oldname)
	if err != nil {
		return err
	}
	to, newLast, err := m.parent(newname)
	if err != nil {
		return err
	}
	n, target := from.cur.get(oldLast), to.cur.get(newLast)
	if n == nil {
		return syscall.ENOENT
	}
	if _, ok := target.(*dir); ok {
		return syscall.EEXIST // as os.Rename, which replaces no directory
	}
	if n == target {
		return nil
	}
	old, oldIsDir := n.(*dir)
	switch {
	case oldIsDir && old.holds(to):
		return syscall.EINVAL
	case oldIsDir && target != nil:
		return syscall.ENOTDIR
	}
	if in, ok := n.(*inode); ok {
		in.name = newname
	}
	m.enter(change{from, oldLast, nil}, change{to, newLast, n})
	return nil
}

// holds tells whether other is d or below it.
func (d *dir) holds(other *dir) bool {
	return d == other || slices.ContainsFunc(d.cur, func(e entry) bool {
		sub, ok := e.node.(*dir)
		return ok && sub.holds(other)
	})
}

// Mkdir is as in vfs.FS; perm is not kept.
func (m *FS) Mkdir(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, last, err := m.parent(name)
	if err == syscall.EBUSY || err == nil && d.cur.get(last) != nil {
		err = syscall.EEXIST
	}
	if err != nil {
		return pathError("mkdir", name, err)
	}
	m.enter(change{d, last, new(dir)})
	return nil
}

// SyncDir makes durable what was done to the names in one directory.
func (m *FS) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(name)
	if err != nil {
		return pathError("open", name, err)
	}
	d, ok := n.(*dir)
	if !ok {
		return pathError("sync", name, syscall.ENOTDIR)
	}
	durable, others := split(m.pending, d)
	for _, o := range durable {
		for _, c := range o.changes {
			c.dir.durable.set(c.name, c.to)
		}
	}
	m.pending, m.written = others, m.seq
	return nil
}

// FailSync does to a file what a Sync does that fails: its unsynced bytes and
// its length count as clean, while the medium holds old, new or a mixture. See
// the package's description.
func (m *FS) FailSync(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(name)
	if err != nil {
		return pathError("sync", name, err)
	}
	in, ok := n.(*inode)
	if !ok {
		return pathError("sync", name, errors.New("not a file"))
	}
	in.failSync(m.seq)
	return nil
}

type info struct {
	name string
	size int64
	mode fs.FileMode
}

func newInfo(name string, n node) info {
	in, ok := n.(*inode)
	if !ok {
		return info{name: name, mode: fs.ModeDir | 0o700}
	}
	return info{name: name, size: in.cur.size, mode: in.perm}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// Stat is as in vfs.FS. All times are zero.
func (m *FS) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return newInfo(filepath.Base(name), n), nil
}

// ReadDir is as in vfs.FS.
func (m *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	d, ok := n.(*dir)
	if !ok {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	list := make([]fs.DirEntry, len(d.cur))
	for i, e := range d.cur {
		list[i] = fs.FileInfoToDirEntry(newInfo(e.name, e.node))
	}
	return list, nil
}
