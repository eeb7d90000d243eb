package shmring

import (
	"hash/fnv"

	"loomstore/internal/mapping"
)

// Record is one record of a Dump.
type Record struct {
	EOF bool
	Len int    // of the message in bytes; 0 for an end of stream
	Sum uint64 // FNV-1a 64 of the message
}

// Dump is what a ring object holds, from pop_offset on.
type Dump struct {
	PopOffset  uint64 // as found; both 0 when the object has the wrong size
	PushOffset uint64
	Placed     bool // both offsets are possible, so that the rest means something
	Used       int  // bytes between the offsets
	Free       int  // bytes that records can still take
	Records    []Record
	Pending    bool  // behind the records, room is claimed for one that is not finished
	Err        error // a *CorruptError: where reading had to stop; else nil
}

// ReadDump decodes the bytes of one ring object, as a consumer would pop them.
// It does not change or keep them. A ring that is corrupt is not an error of
// the call: Dump.Err says so, behind the records in front of the damage.
func ReadDump(object []byte) *Dump {
	if len(object) != ObjectSize {
		return &Dump{Err: sizeError("object", int64(len(object)))}
	}
	view := mapping.NewHeap(ObjectSize)
	copy(view.Bytes(), object)
	d := &Dump{PopOffset: view.Uint64(popAt).Load(), PushOffset: view.Uint64(pushAt).Load()}
	r, err := newReader(view)
	if err != nil {
		d.Err = err
		return d
	}
	d.Placed = true
	d.Used = int(distance(r.pop, r.push))
	d.Free = capacity - spare - d.Used
	for {
		kind, head, tail, slot, err := r.peek()
		if err == ErrEmpty {
			d.Pending = r.pending()
			return d
		}
		if err != nil {
			d.Err = err
			return d
		}
		r.skip(slot)
		sum := fnv.New64a()
		sum.Write(head)
		sum.Write(tail)
		d.Records = append(d.Records, Record{EOF: kind == eofRecord, Len: len(head) + len(tail), Sum: sum.Sum64()})
	}
}
