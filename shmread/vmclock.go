package shmread

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"loomstore/internal/mapping"
)

const (
	vmclockMagic   = 0x4B4C4356
	vmclockSize    = 104 // of the fields that version 1 began with
	vmclockVersion = 1
)

// VMClock is what this package reads of a VMClock page (spec section 3).
type VMClock struct {
	Size    uint32 // of the page, as it says
	Version uint16
	Seq     uint32 // even; 0 on a page not updated since boot
	Marker  uint64 // changes when the clock was disrupted, as by a live migration
}

// vmclockLayout is the page in shared memory. It is little-endian by
// definition, as every machine that this package compiles for.
type vmclockLayout struct {
	magic   atomic.Uint32
	size    atomic.Uint32
	version atomic.Uint32 // u16 version, u8 counter, u8 time type
	seq     atomic.Uint32
	marker  atomic.Uint64
}

type vmclockPage struct {
	path   string
	info   os.FileInfo // of the mapped file: its inode, for os.SameFile
	view   *mapping.View
	shared *vmclockLayout
}

func openVMClock(path string, unguarded bool) (*vmclockPage, error) {
	f, err := openAtOnce(path)
	if err != nil {
		return nil, fmt.Errorf("%w: VMClock: %w", ErrSyscall, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: VMClock: %w", ErrSyscall, err)
	}
	// The device has no length; a regular file stands in for it in tests
	// and simulations.
	if info.Mode().IsRegular() && info.Size() < vmclockSize {
		if info.Size() == 0 {
			return nil, fmt.Errorf("open VMClock %s: %w: the file is empty", path, ErrNotInitialized)
		}
		return nil, fmt.Errorf("open VMClock %s: %w", path, malformed("%d bytes, the page has at least %d", info.Size(), vmclockSize))
	}
	view, err := mapPage(f, unguarded)
	if err != nil {
		return nil, fmt.Errorf("%w: open VMClock %s: %w", ErrSyscall, path, err)
	}
	p := &vmclockPage{path: path, info: info, view: view, shared: mapping.Overlay[vmclockLayout](view, 0)}
	runtime.AddCleanup(p, func(v *mapping.View) { v.Close() }, view)
	if err := p.checkHeader(); err != nil {
		return nil, fmt.Errorf("open VMClock %s: %w", path, err)
	}
	return p, nil
}

func (p *vmclockPage) checkHeader() error {
	l := p.shared
	magic, size, version := l.magic.Load(), l.size.Load(), uint16(l.version.Load())
	runtime.KeepAlive(p)
	switch {
	case magic != vmclockMagic:
		return malformed("magic is %08x, not %08x", magic, vmclockMagic)
	case size < vmclockSize:
		return malformed("size is %d, at least %d is needed", size, vmclockSize)
	}
	return checkVMClockVersion(version)
}

func checkVMClockVersion(version uint16) error {
	switch version {
	case vmclockVersion:
		return nil
	case 0:
		return fmt.Errorf("%w: version is 0", ErrNotInitialized)
	default:
		return fmt.Errorf("%w: VMClock version %d", ErrVersionNotSupported, version)
	}
}

// read returns a page that was not changing, sequence 0 included. It waits for
// an update at most as long as Snapshot does: the original spins for 19 s. The
// magic is looked at each time, last: it is what a page that is cut loses. So
// is the version: another host, after a migration, may write another layout.
func (p *vmclockPage) read() (VMClock, error) {
	l := p.shared
	for wait := patience(0); ; {
		seq := l.seq.Load()
		v := VMClock{Size: l.size.Load(), Version: uint16(l.version.Load()), Seq: seq, Marker: l.marker.Load()}
		same := l.seq.Load() == seq
		if l.magic.Load() != vmclockMagic {
			return VMClock{}, fmt.Errorf("read VMClock %s: %w", p.path, malformed("the page is gone"))
		}
		if same && seq&1 == 0 {
			runtime.KeepAlive(p)
			if err := checkVMClockVersion(v.Version); err != nil {
				return VMClock{}, fmt.Errorf("read VMClock %s: %w", p.path, err)
			}
			return v, nil
		}
		if !wait.wait(false) {
			return VMClock{}, fmt.Errorf("read VMClock %s: sequence %d: %w", p.path, seq, ErrBusy)
		}
	}
}

// vmclockReader opens the page when it is first needed.
type vmclockReader struct {
	path      string
	unguarded bool
	page      atomic.Pointer[vmclockPage]
	mu        sync.Mutex
}

func (r *vmclockReader) open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.page.Load() != nil {
		return nil
	}
	p, err := openVMClock(r.path, r.unguarded)
	if err == nil {
		r.page.Store(p)
	}
	return err
}

// follow lets go of a page whose path names another file by now: the next read
// that needs the page opens that one.
func (r *vmclockReader) follow() {
	p := r.page.Load()
	if p == nil {
		return
	}
	if info, err := os.Stat(r.path); err == nil && !os.SameFile(info, p.info) {
		r.page.CompareAndSwap(p, nil)
	}
}

func (r *vmclockReader) close() { r.page.Store(nil) }

func (r *vmclockReader) marker() (uint64, error) {
	p := r.page.Load()
	if p == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
		if p = r.page.Load(); p == nil {
			return 0, errClosed
		}
	}
	v, err := p.read()
	if errors.Is(err, ErrMalformed) {
		r.page.CompareAndSwap(p, nil) // a page that is gone is opened anew next time
	}
	return v.Marker, err
}
