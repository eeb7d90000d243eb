package aiod

import (
	"sync"

	"golang.org/x/sys/unix"
)

// fileTable numbers the open files of a native server. A handle is an index
// and, above it, a generation that is never used again: not for the next file
// in the same place, and not by the next daemon after this one's death.
type fileTable struct {
	mu    sync.Mutex
	slots []tableSlot
	free  []uint32
	life  uint32
}

type tableSlot struct {
	gen  uint32
	file *openFile
}

const (
	indexBits = 20
	lifeBits  = 12
)

func (t *fileTable) handle(i uint32) uint64 {
	gen := uint64(t.life%(1<<lifeBits))<<32 | uint64(t.slots[i].gen)
	return gen<<indexBits | uint64(i)
}

func (t *fileTable) add(f *openFile) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		if len(t.slots) == 1<<indexBits {
			return 0, unix.EMFILE
		}
		t.slots = append(t.slots, tableSlot{})
		t.free = append(t.free, uint32(len(t.slots)-1))
	}
	i := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.slots[i].file = f
	return t.handle(i), nil
}

// find returns the file, which is the caller's to release, or EBADF.
func (t *fileTable) find(h uint64) (*openFile, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := uint32(h & (1<<indexBits - 1))
	if int(i) >= len(t.slots) || t.slots[i].file == nil || t.handle(i) != h {
		return nil, unix.EBADF
	}
	return t.slots[i].file.acquire(), nil
}

// remove ends a handle; the file is closed when its last user is done.
func (t *fileTable) remove(h uint64) error {
	f, err := t.find(h)
	if err != nil {
		return err
	}
	t.mu.Lock()
	i := uint32(h & (1<<indexBits - 1))
	if t.handle(i) != h { // closed twice at the same moment
		t.mu.Unlock()
		f.release()
		return unix.EBADF
	}
	t.slots[i].file = nil
	t.slots[i].gen++
	t.free = append(t.free, i)
	t.mu.Unlock()
	f.release()
	return f.release()
}
