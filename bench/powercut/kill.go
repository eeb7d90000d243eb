package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"loomstore/internal/vfs"
)

// killer is a file system that kills the process before one operation that
// changes something: the at-th, or the first called before ("sync memory.bin").
type killer struct {
	vfs.FS
	at     int64
	before string
	count  atomic.Int64
}

func (k *killer) step(op, name string) {
	if k.count.Add(1) == k.at || k.before != "" && k.before == op+" "+filepath.Base(name) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (k *killer) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag&os.O_CREATE != 0 {
		k.step("create", name)
	}
	f, err := k.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &killerFile{f, k, name}, nil
}

func (k *killer) Remove(name string) error {
	k.step("remove", name)
	return k.FS.Remove(name)
}

func (k *killer) Rename(oldname, newname string) error {
	k.step("rename", oldname)
	return k.FS.Rename(oldname, newname)
}

func (k *killer) Mkdir(name string, perm fs.FileMode) error {
	k.step("mkdir", name)
	return k.FS.Mkdir(name, perm)
}

func (k *killer) SyncDir(name string) error {
	k.step("syncdir", name)
	return k.FS.SyncDir(name)
}

type killerFile struct {
	vfs.File
	k    *killer
	name string
}

func (f *killerFile) WriteAt(p []byte, off int64) (int, error) {
	f.k.step("write", f.name)
	return f.File.WriteAt(p, off)
}

func (f *killerFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	f.k.step("write", f.name)
	return f.File.WriteVec(bufs, off)
}

func (f *killerFile) Truncate(size int64) error {
	f.k.step("truncate", f.name)
	return f.File.Truncate(size)
}

func (f *killerFile) Allocate(off, n int64) error {
	f.k.step("allocate", f.name)
	return f.File.Allocate(off, n)
}

func (f *killerFile) Renew(off, n int64) error {
	f.k.step("renew", f.name)
	return f.File.Renew(off, n)
}

func (f *killerFile) Sync() error {
	f.k.step("sync", f.name)
	return f.File.Sync()
}
