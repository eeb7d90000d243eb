package shmring

import (
	"errors"
	"fmt"
)

var (
	// ErrFull reports that a message does not fit now. Nothing was changed.
	ErrFull = errors.New("shmring: ring is full")
	// ErrEmpty reports that there is no message now.
	ErrEmpty = errors.New("shmring: ring is empty")
	// ErrEmptyMessage refuses a message of length 0: upstream's peers read it
	// as the end of the stream (D5).
	ErrEmptyMessage = errors.New("shmring: message of length 0")
	// ErrTooLong refuses a message longer than MaxMessage, which would never
	// fit (D11).
	ErrTooLong = errors.New("shmring: message longer than 65512 bytes")
	// ErrShortBuffer reports that the caller's buffer is shorter than the next
	// message, which stays in the ring (D12).
	ErrShortBuffer = errors.New("shmring: buffer shorter than the message")
	// ErrClosed reports the use of an end that was closed (upstream's EBADF).
	ErrClosed = errors.New("shmring: closed")
	// ErrClosing reports that closing is already under way (upstream's EBUSY).
	ErrClosing = errors.New("shmring: close in progress")
	// ErrClaimed reports that the pair's only producer or only consumer was
	// handed out before (D2, D3).
	ErrClaimed = errors.New("shmring: end already claimed")
	// ErrPeerDead reports that the peer's process ended without closing the
	// pair (D4).
	ErrPeerDead = errors.New("shmring: peer died")
	// ErrPeerGone reports that the peer closed the pair: without an end of
	// stream to a consumer, while messages were waiting to a producer.
	ErrPeerGone = errors.New("shmring: peer closed the pair")
	// ErrInUse reports a pair that already has its two ends.
	ErrInUse = errors.New("shmring: pair already has both ends")
	// ErrOwned reports that a name can not be created because the process that
	// created it is alive. It comes together with fs.ErrExist.
	ErrOwned = errors.New("shmring: its creator is alive")
	// ErrName refuses a name: empty, longer than MaxName, or with a slash or a
	// NUL byte in it.
	ErrName = errors.New("shmring: invalid name")
	// ErrCorrupt is wrapped by every CorruptError.
	ErrCorrupt = errors.New("shmring: corrupt ring")
)

// Defect names what is wrong with a ring, in the words of `loomctl ring dump`.
type Defect string

// The defects of a ring.
const (
	DefectSize         Defect = "size"                    // the object is not ObjectSize bytes long
	DefectOffset       Defect = "offset"                  // an offset is odd, beyond the buffer, or moved further than it may
	DefectRecordLength Defect = "record-length"           // a record is longer than what is in use, or has no room for its application header
	DefectPastPush     Defect = "record-past-push-offset" // a record where push_offset says there is none
	DefectAppHeader    Defect = "app-header"              // neither a message nor an end of stream
	DefectEOFPayload   Defect = "eof-payload"             // an end of stream with bytes behind it
)

// CorruptError says where a ring is corrupt. It wraps ErrCorrupt. The end that
// met it stays failed: its position in the stream is lost.
type CorruptError struct {
	Defect Defect
	What   string // the word or object that is wrong
	At     int64  // its offset in bytes in the object
	Want   string
	Found  uint64
	Cause  error // of a fault in the mapping; else nil
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("shmring: corrupt ring: %s at byte %d: want %s, found %#x", e.What, e.At, e.Want, e.Found)
}

// Unwrap returns ErrCorrupt and the cause.
func (e *CorruptError) Unwrap() []error {
	if e.Cause != nil {
		return []error{ErrCorrupt, e.Cause}
	}
	return []error{ErrCorrupt}
}

func offsetError(what string, at int64, found uint64) error {
	return &CorruptError{Defect: DefectOffset, What: what, At: at, Want: "an even offset below 65520, reachable from the last one", Found: found}
}

func sizeError(object string, size int64) error {
	return &CorruptError{Defect: DefectSize, What: "end of " + object, At: size, Want: "65536 bytes", Found: uint64(size)}
}
