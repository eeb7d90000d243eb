package aiod

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// openFile is a descriptor that several goroutines may use while one closes
// it: the descriptor is closed by the last of them, so that its number can not
// come to mean another file in between.
type openFile struct {
	fd int
	id identity
	// leftover: opened again for a request that came behind its CLOSE, so that
	// no CLOSE is to come. Set before the file is in a table.
	leftover bool

	refs atomic.Int32 // users, plus one while it stands in a table

	mu      sync.Mutex // of what follows
	syncErr error
	dir     *dirStream // of a directory that is being listed
}

// identity is what an aiod_file says of the file that it stands for: its
// numbers, or for a directory, whose numbers no OPENDIR fills in, its path.
type identity struct {
	dev, ino uint64
	path     string
}

func newOpenFile(fd int) *openFile {
	f := &openFile{fd: fd}
	f.refs.Store(1)
	return f
}

// acquire is called with the table locked, which is what keeps refs above 0.
func (f *openFile) acquire() *openFile {
	f.refs.Add(1)
	return f
}

// release ends one use; the last one closes the descriptor and reports how.
func (f *openFile) release() error {
	if f.refs.Add(-1) > 0 {
		return nil
	}
	return unix.Close(f.fd)
}

// fileKey is a handle number as the client chose it. Files and directories are
// numbered apart.
type fileKey struct {
	dir    bool
	number uint32
}

// maxGenerations bounds what a client can leave behind under one number.
const maxGenerations = 64

// maxKnown bounds the numbers that are remembered; libasync counts from 1 and
// takes a free one first.
const maxKnown = 1 << 16

// generations are the files opened under each handle number, oldest first.
//
// A libasync client uses a number again as soon as it has asked for the close,
// and the next OPEN (pipe) may overtake that CLOSE (socket). So an OPEN of a
// number in use starts a new generation, requests go to the newest, and a
// CLOSE ends the oldest: CLOSEs come in order, one for every OPEN, failed ones
// included (spec section 2). A failed OPEN is a generation without a file.
type generations struct {
	mu    sync.Mutex
	files map[fileKey][]*openFile // nil: a failed OPEN
	// known are the numbers that this daemon has opened something under, kept
	// only where every OPEN comes here: whoever asks for a file under such a
	// number that is not open asks behind its CLOSE.
	known map[fileKey]struct{}
}

// opened starts the generation of an OPEN; f is nil for a failed one. What was
// left behind under the number ends here, as in the original.
func (g *generations) opened(k fileKey, f *openFile) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files[k] = slices.DeleteFunc(g.files[k], func(old *openFile) bool {
		if old == nil || !old.leftover {
			return false
		}
		old.release()
		return true
	})
	if g.known != nil && len(g.known) < maxKnown {
		g.known[k] = struct{}{}
	}
	return g.add(k, f)
}

// reopened starts the generation of a file that was opened for a request on it.
func (g *generations) reopened(k fileKey, f *openFile) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, f.leftover = g.known[k]
	return g.add(k, f)
}

func (g *generations) add(k fileKey, f *openFile) error {
	if len(g.files[k]) >= maxGenerations {
		return unix.EMFILE
	}
	g.files[k] = append(g.files[k], f)
	return nil
}

// find returns the newest file that the client can mean, or nil. It is the
// caller's to release.
func (g *generations) find(k fileKey, id identity) *openFile {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.files[k]
	for i := len(list) - 1; i >= 0; i-- {
		if f := list[i]; f != nil && f.id == id {
			return f.acquire()
		}
	}
	return nil
}

// closed ends the oldest generation. An unknown number is no error: each
// daemon is told of every CLOSE.
func (g *generations) closed(k fileKey) error {
	g.mu.Lock()
	list := g.files[k]
	if len(list) == 0 {
		g.mu.Unlock()
		return nil
	}
	f := list[0]
	if len(list) == 1 {
		delete(g.files, k)
	} else {
		g.files[k] = list[1:]
	}
	g.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.release()
}

func (g *generations) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, list := range g.files {
		for _, f := range list {
			if f != nil {
				f.release()
			}
		}
	}
	g.files = nil
}
