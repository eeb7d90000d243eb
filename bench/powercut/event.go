package main

import (
	"bytes"
	"fmt"
)

// kind is what happened to the disk.
type kind int

const (
	written kind = iota // bytes, or zeros for a discard
	flushed             // everything answered before is durable
	marked              // the workload said where it is
	refused             // a write that ended in EIO; what the medium took of it follows
)

// event is one entry of a disk's log, in the order in which the disk answered.
type event struct {
	kind   kind
	off, n int64
	data   []byte // nil: n zeros
	mark   mark
}

func (e event) zeros() bool { return e.data == nil }

// part returns the sectors [lo, hi) of a write.
func (e event) part(lo, hi int64) event {
	p := event{kind: written, off: e.off + lo*sectorSize, n: min(hi*sectorSize, e.n) - lo*sectorSize}
	if !e.zeros() {
		p.data = e.data[lo*sectorSize : lo*sectorSize+p.n]
	}
	return p
}

// sectors is how many sectors a write touches.
func (e event) sectors() int64 { return (e.n + sectorSize - 1) / sectorSize }

func (e event) String() string {
	switch e.kind {
	case flushed:
		return "flush"
	case marked:
		return fmt.Sprintf("%s %d %v", e.mark.Kind, e.mark.Epoch, e.mark.Change)
	}
	verb := "write"
	if e.kind == refused {
		verb = "EIO"
	}
	what := "metadata"
	if e.zeros() {
		what = "zeros"
	} else if holdsPages(e) {
		what = "pages"
	} else if i := bytes.Index(e.data, []byte("LOOM")); i >= 0 {
		what = string(e.data[i : i+8])
	}
	return fmt.Sprintf("%s %d+%d %s", verb, e.off, e.n, what)
}
