package shmread

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// The paths of the original's daemon and of the kernel's driver.
const (
	DefaultPath    = "/var/run/clockbound/shm0" // version 2
	DefaultPathV1  = "/var/run/clockbound/shm"  // version 1, of daemon 1.0
	DefaultVMClock = "/dev/vmclock0"
)

// Options change how a Reader works. The zero value is right for most.
type Options struct {
	// VMClock is the VMClock page, looked at only while the segment says
	// that disruptions are supported. Empty means DefaultVMClock.
	VMClock string
	// Lazy lets Open succeed where no usable segment exists yet. Reads
	// return the error that Open would have returned, until one exists.
	Lazy bool
	// FollowEvery is how often the paths are looked at for a file that
	// replaced a mapped one. 0 means one second; negative means never.
	FollowEvery time.Duration
	// Unguarded leaves alone what the process does at SIGBUS: should somebody
	// truncate the file, the process dies. Without it, Open puts a handler in
	// front of Go's (see the package's documentation).
	Unguarded bool
	// UnverifiedV3 lets Snapshot decode version 3 by its published layout,
	// which has not been compared with a real segment. Now and
	// WaitSynchronized refuse version 3 in any case: what clock its as_of
	// is on is not known.
	UnverifiedV3 bool
}

// Reader reads the clock of one segment. Any number of goroutines may use one
// Reader; its methods do not allocate unless something is wrong.
type Reader struct {
	cur     atomic.Pointer[segment] // nil: none usable
	stuck   atomic.Uint32           // vergen that was waited for in vain
	clock   clock
	vmclock vmclockReader
	last    lastGood

	paths     []string
	allowV3   bool
	unguarded bool

	mu     sync.Mutex // reopening and closing
	closed bool
	every  time.Duration
	timer  *time.Timer
}

// Open maps the segment at path, or with an empty path the first that exists
// of DefaultPath and DefaultPathV1 (and changes to DefaultPath when a daemon of
// version 2 follows one of version 1), and the VMClock page if the segment's
// record asks for it. nil options are the defaults.
//
// Errors: ErrSyscall (a missing file is also fs.ErrNotExist),
// ErrNotInitialized, ErrVersionNotSupported (ErrVersion3), ErrMalformed, in
// the original's order of checks; on other systems than Linux
// errors.ErrUnsupported. ErrSyscall is also what Open says where SIGBUS is
// handled by somebody that it can not be shared with. A writer that died inside its first update is no
// error here: Snapshot and Now report it.
func Open(path string, o *Options) (*Reader, error) {
	if o == nil {
		o = &Options{}
	}
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	r := &Reader{unguarded: o.Unguarded, clock: clock, paths: []string{path}, allowV3: o.UnverifiedV3, every: o.FollowEvery}
	if path == "" {
		r.paths = []string{DefaultPath, DefaultPathV1}
	}
	if r.every == 0 {
		r.every = time.Second
	}
	r.vmclock.path, r.vmclock.unguarded = o.VMClock, o.Unguarded
	if r.vmclock.path == "" {
		r.vmclock.path = DefaultVMClock
	}
	if err := r.openFirst(); err != nil && !o.Lazy {
		return nil, err
	}
	if r.every > 0 {
		r.startFollowing()
	}
	return r, nil
}

func (r *Reader) openFirst() error {
	s, err := r.reopen(nil)
	if err != nil {
		return err
	}
	var c ClockErrorBound
	if _, err := s.read(&c); err == nil && c.DisruptionSupport {
		return r.vmclock.open()
	}
	return nil
}

// Close ends the reader: later calls return an error that is fs.ErrClosed.
// Calls that are running finish undisturbed; the memory is unmapped when the
// garbage collector finds that nobody can reach it.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.cur.Store(nil)
	r.vmclock.close()
	return nil
}

// Snapshot reads the record of the segment into c. On an error c is left as it
// was, so a caller that passes the same c again still holds its last good
// record. Passing it again is also the fastest way: while nothing has changed
// the record is compared with it and not copied.
//
// The record is as the daemon wrote it: not aged and not compared with the
// VMClock page. Errors: those of Open; ErrBusy after a bounded wait (some 50
// ms, once for one stuck update) when the writer stays inside an update.
func (r *Reader) Snapshot(c *ClockErrorBound) error {
	// Whatever this function needs behind a call it would save on the stack in
	// front of everything else: so there is one call, and nothing behind it.
	if s := r.cur.Load(); s != nil {
		l := s.shared
		vg := l.vergen.Load()
		if vg == joinVergen(c.Version, c.Generation) && l.rest(c)|l.times(c)|uint64(vg^l.vergen.Load()) == 0 && whole(vg) {
			runtime.KeepAlive(s)
			return nil
		}
	}
	return r.fetch(c)
}

// reopen replaces old, unless somebody else already has, and returns what is
// current then. Where the file is gone, or can not be opened, old stays: its
// record ages and says so. Where the file is there and unusable nothing is
// current until it is usable again.
func (r *Reader) reopen(old *segment) (*segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	if s := r.cur.Load(); s != nil && s != old {
		return s, nil
	}
	var s *segment
	var err error
	for _, path := range r.paths {
		if s, err = openSegment(path, r.allowV3, r.unguarded); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err == nil {
		r.cur.Store(s)
	} else if !errors.Is(err, ErrSyscall) {
		r.cur.Store(nil)
	}
	return s, err
}

// follow looks whether the path still names the mapped file, at its length,
// whether a path that comes first names a segment by now, and whether
// VMClock's still names the page that is mapped.
func (r *Reader) follow() {
	r.vmclock.follow()
	if s := r.cur.Load(); s != nil && (!s.current() || r.preferred(s)) {
		r.reopen(s) // an error is met again, and returned, by the next read
	}
}

// preferred reports whether there is a better segment than s, which a daemon
// of version 1 left behind: the one of a daemon of version 2.
func (r *Reader) preferred(s *segment) bool {
	if s.path == r.paths[0] {
		return false
	}
	_, err := openSegment(r.paths[0], r.allowV3, r.unguarded)
	return err == nil
}

// current reports whether the segment's path still names its file, which is
// still long enough. A path that names nothing is no reason to let go.
func (s *segment) current() bool {
	info, err := os.Stat(s.path)
	return err != nil || os.SameFile(info, s.info) && info.Size() >= int64(s.header.segsize)
}

// startFollowing looks at the path every r.every. The timer knows the reader
// weakly, so a reader that is forgotten without Close goes away all the same.
func (r *Reader) startFollowing() {
	w := weak.Make(r)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.every, func() {
		r := w.Value()
		if r == nil {
			return
		}
		r.follow()
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.closed {
			r.timer.Reset(r.every)
		}
	})
}
