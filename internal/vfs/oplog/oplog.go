// Package oplog wraps a file system and records every operation: as values for
// programs that rebuild what a crash leaves, and as text, one line each, for
// golden files that make a protocol reviewable.
//
// An operation is recorded when it is over, with its error if it failed. Of two
// operations that overlap the one that ends first comes first; Op.Began tells
// them from two that did not overlap. Recording is safe for concurrent use.
//
// What it does not do: judge, or replay. Operations that only read are left
// out unless asked for.
package oplog

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"loomstore/internal/vfs"
)

// Mark is the kind of a line that the program wrote itself: see FS.Mark.
const Mark vfs.Kind = "mark"

// Op is one operation that is over.
type Op struct {
	Kind    vfs.Kind
	Name    string // relative to the root, with slashes
	NewName string // Rename: the new name; Clone, Share: the source
	Off     int64  // Read, Write, WriteVec, Allocate, Renew, WriteBack, Seek, Share; the byte of a lock
	// Len is the bytes asked for, or the size of Truncate, or the process id
	// of SetOwner.
	Len       int64
	From      int64  // Share: the offset in the source
	Flag      int    // of OpenFile
	Exclusive bool   // TakeLock
	Bytes     []byte // Write, WriteVec and Share with Options.Bytes: a copy of what was asked for
	Done      int64  // Read, Write and WriteVec: bytes done; Len if there was no error
	Err       error
	// Began is how many operations were over when this one began: it covers
	// or follows those and knows nothing of the ones behind.
	Began int
}

// Options says what is recorded.
type Options struct {
	Root  string // names are relative to it; "" leaves them as they are
	Reads bool   // also Read, Stat, ReadDir, Size and Seek
	Bytes bool   // keep copies of what is written
	// Hook, if not nil, is called after each operation that is recorded, in
	// the order of the record, one at a time. It must not use this FS; it may
	// clone the one below.
	Hook func(Op)
}

// FS records what is done to a file system.
type FS struct {
	inner   vfs.FS
	options Options

	mu  sync.Mutex
	ops []Op
}

var _ vfs.FS = (*FS)(nil)

// New wraps inner.
func New(inner vfs.FS, options Options) *FS { return &FS{inner: inner, options: options} }

// Ops returns a copy of the record.
func (l *FS) Ops() []Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ops)
}

// Reset forgets the record.
func (l *FS) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = nil
}

// Mark records a line of the program's own, such as an acknowledgement.
func (l *FS) Mark(text string) {
	l.record(Op{Kind: Mark, Name: text, Began: l.began()})
}

// String returns the record as text, one line an operation.
func (l *FS) String() string {
	var b strings.Builder
	for _, op := range l.Ops() {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func (l *FS) began() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ops)
}

func (l *FS) record(op Op) {
	if op.Kind.OnlyReads() && !l.options.Reads {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, op)
	if l.options.Hook != nil {
		l.options.Hook(op)
	}
}

// around records op with what do returns.
func (l *FS) around(op Op, do func() error) error {
	op.Began = l.began()
	op.Err = do()
	l.record(op)
	return op.Err
}

func (l *FS) relative(name string) string {
	if l.options.Root != "" {
		if rel, err := filepath.Rel(l.options.Root, name); err == nil {
			name = rel
		}
	}
	return filepath.ToSlash(name)
}

func (l *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	rel := l.relative(name)
	var f vfs.File
	err := l.around(Op{Kind: vfs.OpenKind(flag), Name: rel, Flag: flag}, func() (err error) {
		f, err = l.inner.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{File: f, log: l, name: rel}, nil
}

func (l *FS) Remove(name string) error {
	return l.around(Op{Kind: vfs.Remove, Name: l.relative(name)}, func() error { return l.inner.Remove(name) })
}

func (l *FS) Rename(oldname, newname string) error {
	return l.around(Op{Kind: vfs.Rename, Name: l.relative(oldname), NewName: l.relative(newname)}, func() error {
		return l.inner.Rename(oldname, newname)
	})
}

func (l *FS) Mkdir(name string, perm fs.FileMode) error {
	return l.around(Op{Kind: vfs.Mkdir, Name: l.relative(name)}, func() error { return l.inner.Mkdir(name, perm) })
}

func (l *FS) Stat(name string) (info fs.FileInfo, err error) {
	err = l.around(Op{Kind: vfs.Stat, Name: l.relative(name)}, func() (err error) {
		info, err = l.inner.Stat(name)
		return err
	})
	return info, err
}

func (l *FS) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = l.around(Op{Kind: vfs.ReadDir, Name: l.relative(name)}, func() (err error) {
		list, err = l.inner.ReadDir(name)
		return err
	})
	return list, err
}

func (l *FS) SyncDir(name string) error {
	return l.around(Op{Kind: vfs.SyncDir, Name: l.relative(name)}, func() error { return l.inner.SyncDir(name) })
}

func (l *FS) OpenLock(name string) (vfs.Lock, error) {
	rel := l.relative(name)
	var inner vfs.Lock
	err := l.around(Op{Kind: vfs.OpenLock, Name: rel}, func() (err error) {
		inner, err = l.inner.OpenLock(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &lock{inner: inner, log: l, name: rel}, nil
}
