package shmread

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"loomstore/internal/mapping"
)

// Writer writes the records of one segment, version 2, as the original's
// daemon does: for tests, simulations and daemons in Go. Its methods may be
// called by several goroutines. One Writer a file: a second one is refused
// while the first is open, in another process too.
type Writer struct {
	mu     sync.Mutex
	file   *os.File // kept for its lock
	view   *mapping.View
	shared *layout
}

// Create opens the segment at path for writing and makes it, and its
// directory, where they are missing (mode 0644 and 0755). A usable segment is
// kept as it is: its record stays valid and its generation goes on, so readers
// notice nothing of a restart. Anything else is rebuilt in place. The file
// never shrinks and is never replaced, because readers have it mapped.
//
// Errors: ErrSyscall, with EWOULDBLOCK where another Writer has the file.
func Create(path string) (*Writer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	w := &Writer{file: f}
	if err := w.prepare(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *Writer) prepare() error {
	if err := lockWriter(w.file); err != nil {
		return err
	}
	info, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSyscall, err)
	}
	if !info.Mode().IsRegular() {
		return malformed("%s is not a regular file", w.file.Name())
	}
	if info.Size() == 0 { // new: clients run as other users, whatever our umask
		if err := w.file.Chmod(0o644); err != nil {
			return fmt.Errorf("%w: %w", ErrSyscall, err)
		}
	}
	size := info.Size()
	if size < sizeV2 {
		size = sizeV2
		if err := w.file.Truncate(size); err != nil {
			return fmt.Errorf("%w: %w", ErrSyscall, err)
		}
	}
	w.view, err = mapping.MapShared(w.file.Fd(), 0, pageSize, true)
	if err != nil {
		return fmt.Errorf("%w: create %s: %w", ErrSyscall, w.file.Name(), err)
	}
	w.shared = mapping.Overlay[layout](w.view, 0)
	return w.guarded(func() error {
		if !w.usable(size) {
			w.rebuild()
		}
		return nil
	})
}

// usable reports whether the segment can go on as it is. The generation may be
// odd: the next Update heals it.
func (w *Writer) usable(size int64) bool {
	l := w.shared
	h := header{
		magic:   [2]uint32{l.magic[0].Load(), l.magic[1].Load()},
		segsize: l.segsize.Load(),
		vergen:  l.vergen.Load(),
	}
	return h.check(size, false) == nil && version(h.vergen) == 2
}

// rebuild makes an empty version 2 segment. Version and generation go first,
// so that no reader takes the old body for the new one's, and the version
// comes back last.
func (w *Writer) rebuild() {
	l := w.shared
	l.vergen.Store(0)
	for i := range (sizeV2 - headerSize) / 8 {
		l.body[i].Store(0)
	}
	l.magic[0].Store(magic0)
	l.magic[1].Store(magic1)
	l.segsize.Store(sizeV2)
	l.vergen.Store(joinVergen(2, 0))
}

// Update writes the next record. An AsOf of zero is replaced by CoarseNow;
// VoidAfter is written as it is given. Version and Generation are not c's to
// say. Update does not allocate.
//
// Errors: ErrMalformed for a record that no reader would accept, or a file
// that was cut or rebuilt under the writer: Create it again.
func (w *Writer) Update(c *ClockErrorBound) error {
	r := *c
	if r.AsOf == (Timespec{}) {
		var err error
		if r.AsOf, err = CoarseNow(); err != nil {
			return err
		}
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.view == nil {
		return errClosed
	}
	return w.guarded(func() error { return w.write(r.encode()) })
}

// write brackets the body between an odd generation and the next even one.
// Every store is atomic: on arm64 a release store does not keep later plain
// stores behind it, so the original's plain copy may be seen before the odd
// generation (spec section 5, item 2).
func (w *Writer) write(b [(sizeV2 - headerSize) / 8]uint64) error {
	l := w.shared
	vg := l.vergen.Load()
	if version(vg) != 2 {
		return malformed("%s was rebuilt under the writer", w.file.Name())
	}
	odd, even := nextGenerations(generation(vg))
	l.vergen.Store(joinVergen(2, odd))
	for i := range b {
		l.body[i].Store(b[i])
	}
	l.vergen.Store(joinVergen(2, even))
	return nil
}

// nextGenerations returns the generations during and after an update. An odd g
// is a writer that died in its update; 0 means never written and is skipped.
func nextGenerations(g uint16) (during, after uint16) {
	during = g | 1
	if after = during + 1; after == 0 {
		after = 2
	}
	return during, after
}

func (w *Writer) guarded(f func() error) error {
	err := mapping.Guarded(w.view.Bytes(), f)
	if _, fault := err.(*mapping.FaultError); fault {
		return malformed("%s was cut short under the writer: %v", w.file.Name(), err)
	}
	return err
}

// Close ends the writer. The segment stays, and stays valid: its record ages.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	var err error
	if w.view != nil {
		err = w.view.Close()
		w.view, w.shared = nil, nil
	}
	if closeErr := w.file.Close(); err == nil {
		err = closeErr
	}
	w.file = nil
	return err
}
