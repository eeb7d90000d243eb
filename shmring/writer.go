package shmring

import (
	"encoding/binary"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// writer is the producing side of one ring: the private offsets and the bytes.
// It never waits. Records are reserved one after another behind push_offset,
// where no consumer looks, and become visible together with commit.
type writer struct {
	view     *mapping.View
	buffer   []byte
	popWord  *atomic.Uint64
	pushWord *atomic.Uint64

	push  uint32 // published push_offset; the shared copy is never read again
	pop   uint32 // pop_offset as last loaded
	end   uint32 // behind the last reserved record
	first uint32 // length of the first reserved record; 0 = none reserved

	reserved []place // records whose marks and lengths commit writes
	batch    []byte  // where gather puts records together
}

// newWriter takes a ring over where its offsets say it is.
func newWriter(view *mapping.View) (writer, error) {
	pop, push, err := loadOffsets(view)
	if err != nil {
		return writer{}, err
	}
	if length := loadLength(view, push); length != 0 {
		return writer{}, pastPush(push, length)
	}
	return writer{
		view:     view,
		buffer:   view.Bytes()[bufferAt:ObjectSize:ObjectSize],
		popWord:  view.Uint64(popAt),
		pushWord: view.Uint64(pushAt),
		push:     push,
		pop:      pop,
		end:      push,
	}, nil
}

// loadOffsets loads both offsets once and checks them.
func loadOffsets(view *mapping.View) (pop, push uint32, err error) {
	if view.Len() != ObjectSize {
		return 0, 0, sizeError("object", int64(view.Len()))
	}
	p, q := view.Uint64(popAt).Load(), view.Uint64(pushAt).Load()
	if !validOffset(p) {
		return 0, 0, offsetError("pop_offset", popAt, p)
	}
	if !validOffset(q) {
		return 0, 0, offsetError("push_offset", pushAt, q)
	}
	return uint32(p), uint32(q), nil
}

// loadLength loads the length at off once.
func loadLength(view *mapping.View, off uint32) uint32 {
	return uint32(view.LoadUint16(int(bufferAt + off)))
}

// free returns how many bytes the next record may take, as far as is known.
func (w *writer) free() uint32 { return capacity - spare - distance(w.pop, w.end) }

// refresh loads pop_offset. It may only move forward over what is in use.
func (w *writer) refresh() error {
	pop := w.popWord.Load()
	if !validOffset(pop) || distance(w.pop, uint32(pop)) > distance(w.pop, w.push) {
		return offsetError("pop_offset", popAt, pop)
	}
	w.pop = uint32(pop)
	return nil
}

// fits tells whether slot bytes are free, looking at the peer's offset only
// when it must.
func (w *writer) fits(slot uint32) (bool, error) {
	if slot <= w.free() {
		return true, nil
	}
	if err := w.refresh(); err != nil {
		return false, err
	}
	return slot <= w.free(), nil
}

// neverFits tells that slot bytes can not become free before commit.
func (w *writer) neverFits(slot uint32) bool {
	return slot > capacity-spare-distance(w.push, w.end)
}

// place is where a reserved record lies.
type place struct{ at, length uint16 }

// reserve makes a record of n message bytes, 0 for the end of the stream, and
// returns their place, in two parts where it wraps. The caller has asked fits.
// It stores nothing: until commit, the peer keeps the cache lines it waits on.
func (w *writer) reserve(n uint32) (head, tail []byte) {
	at, length := w.end, markSize+n
	w.end = advance(at, slotSize(length))
	if w.first == 0 {
		w.first = length
	}
	w.reserved = append(w.reserved, place{uint16(at), uint16(length)})
	return split(w.buffer, advance(at, lengthSize+markSize), n)
}

// head writes what stands in front of a reserved message, but for the length
// of the first, which commit writes last.
func (w *writer) head(p place) {
	at, mark := uint32(p.at), uint32(dataMark)
	if p.length == markSize { // no message is empty
		mark = eofMark
	}
	if at != w.push {
		binary.LittleEndian.PutUint16(w.buffer[at:], p.length)
	}
	if at = advance(at, lengthSize); at <= capacity-markSize {
		binary.LittleEndian.PutUint32(w.buffer[at:], mark)
	} else { // offsets are even: only the split in the middle exists
		binary.LittleEndian.PutUint16(w.buffer[at:], uint16(mark))
		binary.LittleEndian.PutUint16(w.buffer, uint16(mark>>16))
	}
}

// put reserves a record of data in one piece and fills it, if it fits by what
// is known of the peer's offset. That is nearly always so, and takes one call;
// reserve does the rest.
func (w *writer) put(message []byte) bool {
	length := markSize + uint32(len(message))
	slot, at := slotSize(length), w.end
	if len(message) == 0 || len(message) > MaxMessage || slot > w.free() || at+lengthSize+length > capacity {
		return false
	}
	b := w.buffer[at : at+lengthSize+length]
	if w.first == 0 {
		w.first = length // commit writes it, last
	} else {
		binary.LittleEndian.PutUint16(b, uint16(length))
	}
	binary.LittleEndian.PutUint32(b[lengthSize:], dataMark)
	copy(b[lengthSize+markSize:], message)
	w.end = advance(at, slot)
	return true
}

// gather reserves and fills a record for each of the first messages, as many
// as are short and fit by what is known of the peer's offset, and returns how
// many that were. It puts them together in private memory and copies them into
// the ring at once: one long copy replaces whole cache lines, while a store
// into a part of a line must first fetch it from the peer's processor.
func (w *writer) gather(messages [][]byte) (n int) {
	if w.batch == nil {
		w.batch = make([]byte, portion)
	}
	at, room := uint32(0), min(portion, w.free())
	for _, message := range messages {
		length := markSize + uint32(len(message))
		slot := slotSize(length)
		if len(message) == 0 || len(message) > gatherMost || at+slot > room {
			break
		}
		b := w.batch[at : at+lengthSize+length]
		if w.first == 0 {
			w.first, length = length, 0 // commit writes it, last
		}
		binary.LittleEndian.PutUint16(b, uint16(length))
		binary.LittleEndian.PutUint32(b[lengthSize:], dataMark)
		copy(b[lengthSize+markSize:], message)
		at += slot
		n++
	}
	head, tail := split(w.buffer, w.end, at)
	copy(tail, w.batch[copy(head, w.batch[:at]):at])
	w.end = advance(w.end, at)
	return n
}

// split returns the n bytes from off on, in two parts where they wrap.
func split(buffer []byte, off, n uint32) (head, tail []byte) {
	if rest := capacity - off; n > rest {
		return buffer[off:capacity:capacity], buffer[: n-rest : n-rest]
	}
	return buffer[off : off+n : off+n], nil
}

// commit publishes every reserved record in rule 2's order: the length behind
// them is zeroed, push_offset moves, and only then does the first length turn
// from zero. No consumer looks at the other stores before it has seen that one.
func (w *writer) commit() {
	if w.first == 0 {
		return
	}
	for _, p := range w.reserved {
		w.head(p)
	}
	w.reserved = w.reserved[:0]
	binary.LittleEndian.PutUint16(w.buffer[w.end:], 0)
	mapping.ReleaseUint64(w.pushWord, uint64(w.end))
	w.view.ReleaseUint16(int(bufferAt+w.push), uint16(w.first))
	w.push, w.first = w.end, 0
}
