package main

import (
	"sync"
	"syscall"
)

// sectorSize is what a disk writes whole or not at all; blockSize is what
// content is kept in.
const (
	sectorSize = 512
	blockSize  = 4096
)

// content is the bytes of a disk by block number; a block that is missing is
// zero. Blocks are never changed, only exchanged, so contents share them.
type content map[int64]*[blockSize]byte

var zeroBlock = new([blockSize]byte)

// write puts an event's bytes over c, whose lower layer is below.
func (c content) write(e event, below content) {
	end := e.off + e.n
	for off := e.off; off < end; {
		number, in := off/blockSize, off%blockSize
		n := min(blockSize-in, end-off)
		switch {
		case n == blockSize && e.zeros():
			c[number] = zeroBlock
		default:
			b := new([blockSize]byte)
			if n < blockSize {
				*b = *c.block(number, below)
			}
			if e.zeros() {
				clear(b[in : in+n])
			} else {
				copy(b[in:in+n], e.data[off-e.off:])
			}
			c[number] = b
		}
		off += n
	}
}

func (c content) block(number int64, below content) *[blockSize]byte {
	if b := c[number]; b != nil {
		return b
	}
	if b := below[number]; b != nil {
		return b
	}
	return zeroBlock
}

// disk is a block device in memory: what is written lies in over, above base.
// All methods are safe for concurrent use.
type disk struct {
	size int64

	mu         sync.Mutex
	base, over content
	recording  bool
	events     []event

	// Told of an event before it is answered; n counts from the start of the
	// recording. For kills.
	onEvent func(n int)
	// failWrite says whether a write ends in EIO, and which part of it the
	// medium has nevertheless taken.
	failWrite func(event) (taken []event, fail bool)
	// failRead says whether reading these bytes ends in EIO.
	failRead func(off int64, p []byte) bool
}

func newDisk(size int64, base content) *disk {
	return &disk{size: size, base: base, over: content{}}
}

// reset gives the disk another content, and forgets the log.
func (d *disk) reset(base content, pieces []event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.base, d.over, d.events, d.recording = base, content{}, nil, false
	for _, e := range pieces {
		d.over.write(e, base)
	}
}

// record starts the log. Everything before counts as durable and is returned.
func (d *disk) record() content {
	d.mu.Lock()
	defer d.mu.Unlock()
	base := make(content, len(d.base)+len(d.over))
	for n, b := range d.base {
		base[n] = b
	}
	for n, b := range d.over {
		base[n] = b
	}
	d.base, d.over, d.events, d.recording = base, content{}, nil, true
	return base
}

// stop ends the log and returns it.
func (d *disk) stop() []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recording = false
	return d.events
}

// inject sets the faults from here on; nil functions are none.
func (d *disk) inject(onEvent func(int), failWrite func(event) ([]event, bool), failRead func(int64, []byte) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onEvent, d.failWrite, d.failRead = onEvent, failWrite, failRead
}

func (d *disk) note(e event) {
	if !d.recording {
		return
	}
	d.events = append(d.events, e)
	if d.onEvent != nil {
		d.onEvent(len(d.events))
	}
}

func (d *disk) read(p []byte, off int64) (int, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p = p[:max(0, min(int64(len(p)), d.size-off))]
	for done := 0; done < len(p); {
		at := off + int64(done)
		done += copy(p[done:], d.over.block(at/blockSize, d.base)[at%blockSize:])
	}
	if d.failRead != nil && d.failRead(off, p) {
		return 0, syscall.EIO
	}
	return len(p), 0
}

func (d *disk) write(e event) syscall.Errno {
	if e.off < 0 || e.off+e.n > d.size {
		return syscall.EFBIG
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	taken, fail := []event{e}, false
	if d.failWrite != nil {
		if part, failed := d.failWrite(e); failed {
			taken, fail = part, true
			e.kind = refused
			d.note(e)
		}
	}
	for _, t := range taken {
		d.over.write(t, d.base)
		d.note(t)
	}
	if fail {
		return syscall.EIO
	}
	return 0
}

func (d *disk) flush() syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(event{kind: flushed})
	return 0
}

func (d *disk) mark(m mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(event{kind: marked, mark: m})
}
