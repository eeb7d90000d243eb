package shmring

import (
	"encoding/binary"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// kind is what a record says.
type kind int

const (
	dataRecord kind = iota
	eofRecord
)

// reader is the consuming side of one ring: the private offsets and the bytes.
// It never waits. Every shared word is loaded once, checked, and then used.
type reader struct {
	view     *mapping.View
	buffer   []byte
	popWord  *atomic.Uint64
	pushWord *atomic.Uint64

	pop  uint32 // published pop_offset; the shared copy is never read again
	next uint32 // the record to read next; from pop to here is read but not given back
	push uint32 // push_offset as last loaded
}

func newReader(view *mapping.View) (reader, error) {
	pop, push, err := loadOffsets(view)
	if err != nil {
		return reader{}, err
	}
	return reader{
		view:     view,
		buffer:   view.Bytes()[bufferAt:ObjectSize:ObjectSize],
		popWord:  view.Uint64(popAt),
		pushWord: view.Uint64(pushAt),
		pop:      pop,
		next:     pop,
		push:     push,
	}, nil
}

// ready tells whether there is a record, or what looks like one.
func (r *reader) ready() bool { return loadLength(r.view, r.next) != 0 }

// glance is ready for a spin. It leaves the record's cache line to the producer
// until push_offset has moved: to be looked at again and again while it is
// filled would cost it a transfer more.
func (r *reader) glance() bool { return r.pushWord.Load() != uint64(r.next) && r.ready() }

// peek returns the next record's kind and bytes, in two parts where they
// wrap, and its slot, to pass to skip. ErrEmpty: there is none, or its
// producer has not finished it.
func (r *reader) peek() (k kind, head, tail []byte, slot uint32, err error) {
	length := loadLength(r.view, r.next)
	if length == 0 {
		return 0, nil, nil, 0, ErrEmpty
	}
	slot = slotSize(length)
	if slot > distance(r.next, r.push) {
		if err := r.refresh(length, slot); err != nil {
			return 0, nil, nil, 0, err
		}
	}
	if length < markSize {
		return 0, nil, nil, 0, r.recordError(DefectRecordLength, "length of a record", "at least 4", uint64(length))
	}
	mark, head, tail := record(r.buffer, r.next, length)
	switch {
	case mark == dataMark:
		return dataRecord, head, tail, slot, nil
	case mark == eofMark && length == markSize:
		return eofRecord, nil, nil, slot, nil
	case mark == eofMark:
		return 0, nil, nil, 0, r.recordError(DefectEOFPayload, "length of an end of stream", "4", uint64(length))
	default:
		return 0, nil, nil, 0, r.recordError(DefectAppHeader, "application header of a record", "0x0f0e0e0b or 0x0d0a0e0d", uint64(mark))
	}
}

// get copies the next record into buf and skips it, if it is data in one piece
// that fits, covered by what is known of the peer's offset. That is nearly
// always so, and takes one call; peek does the rest, and says what is wrong.
func (r *reader) get(buf []byte) (n int, ok bool) {
	length := loadLength(r.view, r.next)
	slot, at := slotSize(length), r.next+lengthSize
	if length < markSize || slot > distance(r.next, r.push) || at+length > capacity {
		return 0, false
	}
	b := r.buffer[at : at+length]
	if binary.LittleEndian.Uint32(b) != dataMark || len(b)-markSize > len(buf) {
		return 0, false
	}
	r.skip(slot)
	return copy(buf, b[markSize:]), true
}

// record takes the record of length bytes at off apart.
func record(buffer []byte, off, length uint32) (mark uint32, head, tail []byte) {
	at := off + lengthSize
	if at+length <= capacity { // in one piece, as nearly all are
		b := buffer[at : at+length : at+length]
		return binary.LittleEndian.Uint32(b), b[markSize:], nil
	}
	at = advance(off, lengthSize)
	if at <= capacity-markSize {
		mark = binary.LittleEndian.Uint32(buffer[at:])
	} else { // as in head
		mark = uint32(binary.LittleEndian.Uint16(buffer[at:])) | uint32(binary.LittleEndian.Uint16(buffer))<<16
	}
	head, tail = split(buffer, advance(at, markSize), length-markSize)
	return mark, head, tail
}

// refresh loads push_offset, which moves before a length appears, so that it
// must cover the record of slot bytes. It may only move forward over what was
// free.
func (r *reader) refresh(length, slot uint32) error {
	push := r.pushWord.Load()
	if !validOffset(push) || distance(r.push, uint32(push)) > capacity-spare-distance(r.pop, r.push) {
		return offsetError("push_offset", pushAt, push)
	}
	r.push = uint32(push)
	switch used := distance(r.next, r.push); {
	case used == 0:
		return pastPush(r.next, length)
	case slot > used:
		return r.recordError(DefectRecordLength, "length of a record", "a record inside what is in use", uint64(length))
	}
	return nil
}

func (r *reader) recordError(d Defect, what, want string, found uint64) error {
	return &CorruptError{Defect: d, What: what, At: bufferAt + int64(r.next), Want: want, Found: found}
}

func pastPush(off, length uint32) error {
	return &CorruptError{Defect: DefectPastPush, What: "length behind push_offset", At: bufferAt + int64(off), Want: "0", Found: uint64(length)}
}

// skip moves over the record that peek returned, without giving it back.
func (r *reader) skip(slot uint32) { r.next = advance(r.next, slot) }

// release gives everything that was skipped back to the producer: a reader
// that is alone need not touch the lengths (rule 3).
func (r *reader) release() {
	if r.next == r.pop {
		return
	}
	r.pop = r.next
	mapping.ReleaseUint64(r.popWord, uint64(r.next))
}

// pending tells that the producer has claimed room for a record that it has
// not finished.
func (r *reader) pending() bool {
	return !r.ready() && r.pushWord.Load() != uint64(r.next)
}
