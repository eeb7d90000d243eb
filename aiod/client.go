package aiod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	// ErrClosed reports the use of a Client or File after its Close.
	// It is fs.ErrClosed as well.
	ErrClosed = fmt.Errorf("aiod: closed: %w", fs.ErrClosed)
	// ErrDied reports a request that was outstanding when its daemon died.
	// Whether it was carried out is not known.
	ErrDied = errors.New("aiod: daemon died")
	// ErrProtocol reports a daemon that answered what nobody asked. It is
	// killed.
	ErrProtocol = errors.New("aiod: protocol violated")
)

// backend is what the compatible and the native mode have in common.
type backend interface {
	open(ctx context.Context, name string, flag int, perm uint32) (handle, error)
	// change carries out UNLINK, LINK, SYMLINK, RENAME or MKDIR.
	change(ctx context.Context, op Op, path1, path2 string, mode uint32) error
	stat(ctx context.Context, name string, follow bool) (*Stat, error)
	statvfs(ctx context.Context, name string) (*Statvfs, error)
	readlink(ctx context.Context, name string) (string, error)
	getcwd(ctx context.Context, name string) (string, error)
	list(ctx context.Context, name string) ([]dirent, error)
	// masked takes the caller's umask out of permission bits where the
	// daemon does not.
	masked(perm uint32) uint32
	close() error
}

// handle is an open file of a backend.
type handle interface {
	transfer(ctx context.Context, write bool, blocks []Block) error
	sync(ctx context.Context, dataOnly bool) error
	// writeSync writes and syncs; if it returns less than len(p) without an
	// error, the rest is the caller's, and so is the sync.
	writeSync(ctx context.Context, p []byte, off int64) (n int, writeErr, syncErr error)
	resetSync(ctx context.Context) error
	truncate(ctx context.Context, size int64) error
	stat(ctx context.Context) (*Stat, error)
	close(ctx context.Context) error
}

// Client does file operations in other processes. It is safe for concurrent
// use. An operation either reports what the daemon found or that the daemon
// died meanwhile; the next one finds a daemon started anew.
//
// Errors are *fs.PathError around the errno, ErrDied, ErrClosed or the
// context's error.
type Client struct {
	b   backend
	ctx context.Context
}

// With returns the same client with operations bound to ctx. One that is given
// up may still be carried out.
func (c *Client) With(ctx context.Context) *Client { return &Client{b: c.b, ctx: ctx} }

// Close ends the daemons once they have done what was asked, and waits for
// them. Files need not be closed before.
func (c *Client) Close() error { return c.b.close() }

// OpenFile opens name with the flags of open(2) as package os has them. A
// relative name is relative to the daemon's directory (Options.Dir), or to
// Options.Root.
func (c *Client) OpenFile(name string, flag int, perm fs.FileMode) (*File, error) {
	h, err := c.b.open(c.ctx, name, flag, c.b.masked(wireMode(perm)))
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &File{h: h, name: name, ctx: c.ctx, state: new(fileState)}, nil
}

// Remove removes a file, or in native mode an empty directory. Durable after
// SyncDir, as are all changes of names.
func (c *Client) Remove(name string) error {
	return pathError("remove", name, c.b.change(c.ctx, OpUnlink, name, "", 0))
}

// Mkdir makes a directory.
func (c *Client) Mkdir(name string, perm fs.FileMode) error {
	return pathError("mkdir", name, c.b.change(c.ctx, OpMkdir, name, "", c.b.masked(wireMode(perm))))
}

// Rename gives a file a new name, replacing what had it before.
func (c *Client) Rename(oldname, newname string) error {
	return pathError("rename", oldname, c.b.change(c.ctx, OpRename, oldname, newname, 0))
}

// Link gives a file another name.
func (c *Client) Link(oldname, newname string) error {
	return pathError("link", oldname, c.b.change(c.ctx, OpLink, oldname, newname, 0))
}

// Symlink makes newname a symbolic link to target.
func (c *Client) Symlink(target, newname string) error {
	return pathError("symlink", newname, c.b.change(c.ctx, OpSymlink, target, newname, 0))
}

// Readlink returns the target of a symbolic link.
func (c *Client) Readlink(name string) (string, error) {
	s, err := c.b.readlink(c.ctx, name)
	return s, pathError("readlink", name, err)
}

// Getcwd returns the absolute path of the directory name, as the daemon sees
// it.
func (c *Client) Getcwd(name string) (string, error) {
	s, err := c.b.getcwd(c.ctx, name)
	return s, pathError("getcwd", name, err)
}

// Stat follows symbolic links; the FileInfo's Sys is a *Stat.
func (c *Client) Stat(name string) (fs.FileInfo, error) { return c.stat("stat", name, true) }

// Lstat does not follow a symbolic link.
func (c *Client) Lstat(name string) (fs.FileInfo, error) { return c.stat("lstat", name, false) }

func (c *Client) stat(op, name string, follow bool) (fs.FileInfo, error) {
	st, err := c.b.stat(c.ctx, name, follow)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return &fileInfo{filepath.Base(name), st}, nil
}

// Statvfs describes the file system that name is on.
func (c *Client) Statvfs(name string) (*Statvfs, error) {
	st, err := c.b.statvfs(c.ctx, name)
	return st, pathError("statvfs", name, err)
}

// ReadDir lists a directory, sorted by name.
func (c *Client) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := c.b.list(c.ctx, name)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	entries := make([]fs.DirEntry, len(list))
	for i, d := range list {
		entries[i] = &dirEntry{d, c, name}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// SyncDir makes the names in a directory durable.
func (c *Client) SyncDir(name string) error {
	f, err := c.OpenFile(name, openDir, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// File is an open file. Its methods are safe for concurrent use.
type File struct {
	h     handle
	name  string
	ctx   context.Context
	state *fileState // shared by what With returns
}

type fileState struct {
	closed  atomic.Bool
	syncErr atomic.Pointer[error]
}

// With returns the same open file with operations bound to ctx. A write that
// is given up may still be carried out, later than one that follows it.
func (f *File) With(ctx context.Context) *File {
	g := *f
	g.ctx = ctx
	return &g
}

// Name returns the name that the file was opened by.
func (f *File) Name() string { return f.name }

// Block is one transfer of a batch: Buf to or from Off. N and Err are its
// outcome: fewer bytes than len(Buf) come with an error.
type Block struct {
	Buf []byte
	Off int64
	N   int
	Err error
}

// ReadBlocks reads all blocks with as many requests at once as the daemon
// takes, in no order. The error is that of the first block that has one.
func (f *File) ReadBlocks(blocks []Block) error { return f.transfer("read", false, blocks) }

// WriteBlocks is ReadBlocks for writing. Blocks must not overlap.
func (f *File) WriteBlocks(blocks []Block) error { return f.transfer("write", true, blocks) }

// ReadAt is as in io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.transferOne("read", false, p, off) }

// WriteAt is as in io.WriterAt. Durable after Sync.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.transferOne("write", true, p, off)
}

var singleBlocks = sync.Pool{New: func() any { return new([1]Block) }}

func (f *File) transferOne(op string, write bool, p []byte, off int64) (int, error) {
	b := singleBlocks.Get().(*[1]Block)
	b[0] = Block{Buf: p, Off: off}
	err := f.transfer(op, write, b[:])
	n := b[0].N
	b[0] = Block{}
	singleBlocks.Put(b)
	return n, err
}

// WriteVec writes the buffers one after the other from off on, and returns the
// bytes up to the first that was not written. Behind it there may be others
// that were.
func (f *File) WriteVec(bufs [][]byte, off int64) (int64, error) {
	blocks := make([]Block, len(bufs))
	for i, b := range bufs {
		blocks[i] = Block{Buf: b, Off: off}
		off += int64(len(b))
	}
	err := f.transfer("write", true, blocks)
	done := int64(0)
	for i := range blocks {
		done += int64(blocks[i].N)
		if blocks[i].N < len(blocks[i].Buf) {
			break
		}
	}
	return done, err
}

func (f *File) transfer(op string, write bool, blocks []Block) error {
	if err := f.usable(op); err != nil {
		return err
	}
	for i := range blocks {
		if blocks[i].Off < 0 {
			return pathError(op, f.name, errors.New("negative offset"))
		}
	}
	if err := f.h.transfer(f.ctx, write, blocks); err != nil {
		return pathError(op, f.name, err)
	}
	for i := range blocks {
		if err := blocks[i].Err; err != nil {
			if err != io.EOF {
				err = pathError(op, f.name, err)
			}
			return err
		}
	}
	return nil
}

// Sync makes the bytes and all of the file's attributes durable (fsync).
//
// A failure of Sync or SyncData, the death of the daemon included, is final
// for this File: a later one might succeed without the lost bytes having
// reached the medium.
func (f *File) Sync() error { return f.sync(false) }

// WriteSync is WriteAt and then Sync, asked for together: the daemon is woken
// once, and goes from one to the other by itself.
func (f *File) WriteSync(p []byte, off int64) (int, error) {
	if err := f.usable("write"); err != nil {
		return 0, err
	}
	if old := f.state.syncErr.Load(); old != nil {
		return 0, *old
	}
	if off < 0 {
		return 0, pathError("write", f.name, errors.New("negative offset"))
	}
	n, writeErr, syncErr := f.h.writeSync(f.ctx, p, off)
	if writeErr == nil && n < len(p) { // too long for one request, or cut short
		var more int
		more, writeErr = f.WriteAt(p[n:], off+int64(n))
		if n += more; writeErr == nil {
			return n, f.Sync()
		}
		return n, writeErr
	}
	if errors.Is(writeErr, ErrDied) { // perhaps in the sync
		return n, f.synced(writeErr)
	}
	if writeErr != nil {
		return n, pathError("write", f.name, writeErr)
	}
	return n, f.synced(syncErr)
}

// SyncData makes the bytes and the length durable (fdatasync; in compatible
// mode, which has none, fsync).
func (f *File) SyncData() error { return f.sync(true) }

func (f *File) sync(dataOnly bool) error {
	if err := f.usable("sync"); err != nil {
		return err
	}
	if old := f.state.syncErr.Load(); old != nil {
		return *old
	}
	return f.synced(f.h.sync(f.ctx, dataOnly))
}

// synced makes a failure stay.
func (f *File) synced(err error) error {
	err = pathError("sync", f.name, err)
	if err != nil {
		f.state.syncErr.CompareAndSwap(nil, &err)
	}
	return err
}

// ResetSync makes Sync possible again after one has failed. It is for a caller
// that writes everything again which the failed one may have lost: only that
// makes the next success mean what it says.
func (f *File) ResetSync() error {
	if err := f.usable("reset"); err != nil {
		return err
	}
	if err := f.h.resetSync(f.ctx); err != nil {
		return pathError("reset", f.name, err)
	}
	f.state.syncErr.Store(nil)
	return nil
}

// Truncate sets the length; new bytes read as zero.
func (f *File) Truncate(size int64) error {
	if err := f.usable("truncate"); err != nil {
		return err
	}
	return pathError("truncate", f.name, f.h.truncate(f.ctx, size))
}

// Stat describes the open file; the FileInfo's Sys is a *Stat.
func (f *File) Stat() (fs.FileInfo, error) {
	if err := f.usable("stat"); err != nil {
		return nil, err
	}
	st, err := f.h.stat(f.ctx)
	if err != nil {
		return nil, pathError("stat", f.name, err)
	}
	return &fileInfo{filepath.Base(f.name), st}, nil
}

// Close gives the file back to the daemon, behind operations that are still
// outstanding.
func (f *File) Close() error {
	if f.state.closed.Swap(true) {
		return pathError("close", f.name, ErrClosed)
	}
	return pathError("close", f.name, f.h.close(f.ctx))
}

func (f *File) usable(op string) error {
	if f.state.closed.Load() {
		return pathError(op, f.name, ErrClosed)
	}
	return nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
