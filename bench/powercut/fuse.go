package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The files of the server's only directory.
const (
	diskName = "disk" // the block device
	markName = "mark" // takes the workload's marks
)

// serve mounts a directory with the disk and the mark file at dir.
//
// The library leaves the server's connection open across exec. A child that had
// it would keep the connection alive when this process dies, and wait for ever
// for answers that nobody gives, and with it whoever syncs the system. So no
// child is started until the descriptor is closed to them.
func serve(dir string, d *disk) (*fuse.Server, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	s, err := fs.Mount(dir, &directory{disk: d}, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, FsName: "loom-powercut", Name: "loom-powercut", MaxWrite: 1 << 20, MaxBackground: 64, DisableSplice: true,
	}})
	if err == nil {
		closeOnExec("/dev/fuse")
	}
	return s, err
}

// closeOnExec keeps this process's descriptors of a file from its children.
func closeOnExec(name string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == name {
			if fd, err := strconv.Atoi(filepath.Base(link)); err == nil {
				unix.CloseOnExec(fd)
			}
		}
	}
}

type directory struct {
	fs.Inode
	disk *disk
}

func (r *directory) OnAdd(ctx context.Context) {
	regular := fs.StableAttr{Mode: fuse.S_IFREG}
	r.AddChild(diskName, r.NewPersistentInode(ctx, &diskFile{disk: r.disk}, regular), false)
	r.AddChild(markName, r.NewPersistentInode(ctx, &markFile{disk: r.disk}, regular), false)
}

// Statfs gives the loop driver the granularity of a discard.
func (r *directory) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, 255
	return 0
}

type diskFile struct {
	fs.Inode
	disk *disk
}

func (f *diskFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize = fuse.S_IFREG|0o600, uint64(f.disk.size), blockSize
	return 0
}

func (f *diskFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *diskFile) Read(_ context.Context, _ fs.FileHandle, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, errno := f.disk.read(p, off)
	return fuse.ReadResultData(p[:n]), errno
}

func (f *diskFile) Write(_ context.Context, _ fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	e := event{kind: written, off: off, n: int64(len(p)), data: append([]byte{}, p...)}
	return uint32(len(p)), f.disk.write(e)
}

func (f *diskFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return f.disk.flush()
}

// Allocate is a discard or a write of zeros: both are made zeros.
func (f *diskFile) Allocate(_ context.Context, _ fs.FileHandle, off, n uint64, mode uint32) syscall.Errno {
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return syscall.EOPNOTSUPP
	}
	return f.disk.write(event{kind: written, off: int64(off), n: int64(n)})
}

type markFile struct {
	fs.Inode
	disk *disk
}

func (f *markFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Write takes one mark, as JSON.
func (f *markFile) Write(_ context.Context, _ fs.FileHandle, p []byte, _ int64) (uint32, syscall.Errno) {
	var m mark
	if json.Unmarshal(p, &m) != nil {
		return 0, syscall.EINVAL
	}
	f.disk.mark(m)
	return uint32(len(p)), 0
}

var (
	_ fs.NodeOnAdder   = (*directory)(nil)
	_ fs.NodeStatfser  = (*directory)(nil)
	_ fs.NodeGetattrer = (*diskFile)(nil)
	_ fs.NodeOpener    = (*diskFile)(nil)
	_ fs.NodeReader    = (*diskFile)(nil)
	_ fs.NodeWriter    = (*diskFile)(nil)
	_ fs.NodeFsyncer   = (*diskFile)(nil)
	_ fs.NodeAllocater = (*diskFile)(nil)
	_ fs.NodeOpener    = (*markFile)(nil)
	_ fs.NodeWriter    = (*markFile)(nil)
)
