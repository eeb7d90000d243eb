package aiod

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The native mode's control socket (SEQPACKET) carries whole messages: first
// a hello each way, then operations that name files by path or pass
// descriptors. Strings travel in the message, where nobody can change them.
const (
	helloSize       = 64
	controlSize     = 48
	controlMax      = controlSize + 2*pathMax
	controlReply    = 32
	controlReplyMax = controlReply + 32<<10
	maxControl      = 32 // in flight
)

// Operations that ABI 2 does not have.
const (
	opRmdir Op = 64 + iota
	opAdopt    // the descriptor that comes with the message
)

// hello opens the native mode. The server answers with its own: the same
// sizes, the version it chose, or an error.
type hello struct {
	minVersion, maxVersion uint32
	shared                 uint64 // bytes of the memfd
	entries                uint32
	submission, completion uint32 // bytes of an entry
	page                   uint32
	life                   uint32 // upper half of every handle's generation
	errno                  uint32 // server: why it refuses
}

func newHello(shared uint64, page int, life uint32) hello {
	return hello{
		minVersion: nativeVersion, maxVersion: nativeVersion, shared: shared, entries: ringEntries,
		submission: submissionSize, completion: completionSize, page: uint32(page), life: life,
	}
}

func (h *hello) encode() []byte {
	b := make([]byte, helloSize)
	le := binary.LittleEndian
	le.PutUint64(b[0:], nativeMagic)
	for i, v := range []uint32{h.minVersion, h.maxVersion} {
		le.PutUint32(b[8+4*i:], v)
	}
	le.PutUint64(b[16:], h.shared)
	for i, v := range []uint32{h.entries, h.submission, h.completion, h.page, h.life, h.errno} {
		le.PutUint32(b[24+4*i:], v)
	}
	return b
}

var errHello = errors.New("aiod: no agreement on the native mode")

func decodeHello(b []byte) (hello, error) {
	le := binary.LittleEndian
	if len(b) != helloSize || le.Uint64(b) != nativeMagic {
		return hello{}, fmt.Errorf("%w: %d bytes that are no hello", errHello, len(b))
	}
	return hello{
		minVersion: le.Uint32(b[8:]), maxVersion: le.Uint32(b[12:]), shared: le.Uint64(b[16:]), entries: le.Uint32(b[24:]),
		submission: le.Uint32(b[28:]), completion: le.Uint32(b[32:]), page: le.Uint32(b[36:]), life: le.Uint32(b[40:]), errno: le.Uint32(b[44:]),
	}, nil
}

// agrees compares what the peer says with what this side has.
func (h *hello) agrees(mine hello) error {
	if h.minVersion > mine.maxVersion || h.maxVersion < mine.minVersion {
		return fmt.Errorf("%w: versions %d to %d, peer has %d to %d", errHello, mine.minVersion, mine.maxVersion, h.minVersion, h.maxVersion)
	}
	if h.shared != mine.shared || h.entries != mine.entries || h.submission != mine.submission || h.completion != mine.completion || h.page != mine.page {
		return fmt.Errorf("%w: sizes %+v, peer has %+v", errHello, mine, *h)
	}
	return nil
}

// controlRequest is one operation on the control socket.
type controlRequest struct {
	id           uint64
	op           Op
	flags, mode  uint32
	handle       uint64
	path1, path2 string
}

func (r *controlRequest) encode() []byte {
	b := make([]byte, controlSize, controlSize+len(r.path1)+len(r.path2))
	le := binary.LittleEndian
	le.PutUint64(b[0:], r.id)
	for i, v := range []uint32{uint32(r.op), r.flags, r.mode, uint32(len(r.path1)), uint32(len(r.path2))} {
		le.PutUint32(b[8+4*i:], v)
	}
	le.PutUint64(b[32:], r.handle)
	return append(append(b, r.path1...), r.path2...)
}

// decodeControl decodes a whole message.
func decodeControl(b []byte) (controlRequest, error) {
	if len(b) < controlSize {
		return controlRequest{}, fmt.Errorf("%w: control message of %d bytes", ErrProtocol, len(b))
	}
	le := binary.LittleEndian
	r := controlRequest{
		id: le.Uint64(b[0:]), op: Op(le.Uint32(b[8:])), flags: le.Uint32(b[12:]), mode: le.Uint32(b[16:]), handle: le.Uint64(b[32:]),
	}
	n1, n2 := uint64(le.Uint32(b[20:])), uint64(le.Uint32(b[24:]))
	paths := b[controlSize:]
	if n1 >= pathMax || n2 >= pathMax {
		return r, &RequestError{Off: r.id, Errno: errnoENAMETOOLONG, Why: "path too long"}
	}
	if n1+n2 != uint64(len(paths)) {
		return r, &RequestError{Off: r.id, Errno: errnoEINVAL, Why: "lengths do not fit"}
	}
	r.path1, r.path2 = string(paths[:n1]), string(paths[n1:])
	for _, c := range paths {
		if c == 0 {
			return r, &RequestError{Off: r.id, Errno: errnoEINVAL, Why: "NUL in a path"}
		}
	}
	return r, nil
}

// controlAnswer is the reply; a descriptor may come with it.
type controlAnswer struct {
	id      uint64
	errno   uint32
	handle  uint64
	payload []byte
}

func (a *controlAnswer) encode() []byte {
	b := make([]byte, controlReply, controlReply+len(a.payload))
	le := binary.LittleEndian
	le.PutUint64(b[0:], a.id)
	le.PutUint32(b[8:], a.errno)
	le.PutUint64(b[16:], a.handle)
	return append(b, a.payload...)
}

func decodeAnswer(b []byte) (controlAnswer, error) {
	if len(b) < controlReply {
		return controlAnswer{}, fmt.Errorf("%w: control reply of %d bytes", ErrProtocol, len(b))
	}
	le := binary.LittleEndian
	return controlAnswer{id: le.Uint64(b[0:]), errno: le.Uint32(b[8:]), handle: le.Uint64(b[16:]), payload: b[controlReply:]}, nil
}
