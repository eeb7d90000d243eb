package crash

import (
	"io/fs"
	"path"

	"loomstore/internal/vfs"
)

// step is one operation that changes something, about to happen. A middleware
// may change its bytes and its place.
type step struct {
	Kind  vfs.Kind
	File  string // last part of the name; of the old one for Rename
	Phase string // what the engine is doing, see tap.phase
	Off   int64  // Write, Allocate, Renew; the size of Truncate
	Len   int64  // Allocate, Renew
	Bytes []byte // Write
	path  string
}

// middleware stands between an engine and the file system. It calls do or not,
// and what it returns is what the engine sees.
type middleware func(s *step, do func() error) error

// tap is a file system whose changing operations pass through a middleware.
// Operations that only read, and locks, pass through as they are.
type tap struct {
	vfs.FS
	via   middleware
	opens func(name string, flag int, err error) error // nil, or what to make of an open's error
	reads func(f *tapFile, p []byte, off int64) (int, error)
	phase string
}

func (t *tap) do(s *step, do func() error) error {
	s.File, s.Phase = path.Base(s.path), t.phase
	return t.via(s, do)
}

func (t *tap) OpenFile(name string, flag int, perm fs.FileMode) (f vfs.File, err error) {
	open := func() (err error) {
		f, err = t.FS.OpenFile(name, flag, perm)
		return err
	}
	if vfs.OpenKind(flag) == vfs.Create {
		err = t.do(&step{Kind: vfs.Create, path: name}, open)
	} else {
		err = open()
	}
	if t.opens != nil {
		if err = t.opens(name, flag, err); err != nil && f != nil {
			_ = f.Close()
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return &tapFile{File: f, t: t, path: name}, nil
}

func (t *tap) Remove(name string) error {
	return t.do(&step{Kind: vfs.Remove, path: name}, func() error { return t.FS.Remove(name) })
}

func (t *tap) Rename(oldname, newname string) error {
	return t.do(&step{Kind: vfs.Rename, path: oldname}, func() error { return t.FS.Rename(oldname, newname) })
}

func (t *tap) Mkdir(name string, perm fs.FileMode) error {
	return t.do(&step{Kind: vfs.Mkdir, path: name}, func() error { return t.FS.Mkdir(name, perm) })
}

func (t *tap) SyncDir(name string) error {
	return t.do(&step{Kind: vfs.SyncDir, path: name}, func() error { return t.FS.SyncDir(name) })
}

type tapFile struct {
	vfs.File
	t    *tap
	path string
}

func (f *tapFile) ReadAt(p []byte, off int64) (int, error) {
	if f.t.reads != nil {
		return f.t.reads(f, p, off)
	}
	return f.File.ReadAt(p, off)
}

func (f *tapFile) WriteAt(p []byte, off int64) (n int, err error) {
	s := &step{Kind: vfs.Write, path: f.path, Off: off, Bytes: p}
	err = f.t.do(s, func() (err error) {
		_, err = f.File.WriteAt(s.Bytes, s.Off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *tapFile) WriteVec(bufs [][]byte, off int64) (done int64, err error) {
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f *tapFile) Truncate(size int64) error {
	s := &step{Kind: vfs.Truncate, path: f.path, Off: size}
	return f.t.do(s, func() error { return f.File.Truncate(s.Off) })
}

func (f *tapFile) Allocate(off, n int64) error {
	return f.t.do(&step{Kind: vfs.Allocate, path: f.path, Off: off, Len: n}, func() error { return f.File.Allocate(off, n) })
}

func (f *tapFile) Renew(off, n int64) error {
	return f.t.do(&step{Kind: vfs.Renew, path: f.path, Off: off, Len: n}, func() error { return f.File.Renew(off, n) })
}

func (f *tapFile) Sync() error {
	return f.t.do(&step{Kind: vfs.Sync, path: f.path}, f.File.Sync)
}

// FailSync passes on what a failed sync does to the file system below.
func (f *tapFile) FailSync() {
	if below, ok := f.File.(interface{ FailSync() }); ok {
		below.FailSync()
	}
}

func (f *tapFile) CloneFrom(src vfs.File) error {
	if s, ok := src.(*tapFile); ok {
		src = s.File
	}
	return f.t.do(&step{Kind: vfs.Clone, path: f.path}, func() error { return f.File.CloneFrom(src) })
}

// CloneRange is to a crash what a write of the same bytes is.
func (f *tapFile) CloneRange(src vfs.File, from, n, off int64) error {
	b := make([]byte, n)
	if _, err := src.ReadAt(b, from); err != nil {
		return err
	}
	_, err := f.WriteAt(b, off)
	return err
}

func (f *tapFile) NextData(off int64) (int64, error) { return vfs.NextData(f.File, off) }
