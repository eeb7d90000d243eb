package aiod

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The native mode's layout. All integers are little-endian and of fixed width;
// reserved bytes are zero.
const (
	nativeMagic   = 0x444f49416d6f6f4c // "LoomAIOD"
	nativeVersion = 1

	// Words of the first page, each on a cache line of its own.
	wordSQTail   = 64  // client: submissions published
	wordSQAsleep = 128 // server: workers asleep
	wordSQBell   = 192 // client: bumped to wake a worker
	wordCQTail   = 256 // server: completions published
	wordCQAsleep = 320 // client: not 0 while the leader is asleep
	wordCQBell   = 384 // server: bumped to wake the leader

	ringEntries    = 256
	submissionSize = 64
	completionSize = 32
	submissionsAt  = 4096
	completionsAt  = submissionsAt + ringEntries*submissionSize
	dataAt         = 32768 // offsets of buffers count from here
)

// nativeOp is an operation of a submission.
type nativeOp uint32

const (
	nativeNop      nativeOp = iota
	nativeRead              // Len bytes at Off to Buf
	nativeWrite             // Len bytes from Buf to Off
	nativeSync              // fsync
	nativeSyncData          // fdatasync
	nativeTruncate          // to Off
	nativeAllocate          // blocks for Len bytes at Off, length unchanged
	nativeFlush             // start writing back Len bytes at Off
	nativeStat              // to Buf
	nativeClose
	nativeCopy     // Len bytes at Arg of handle Buf to Off
	nativeClone    // all of handle Buf
	nativeSequence // Len bytes of submissions at Buf, in order, up to the first failure
	nativeLock     // bytes [Off, Off+Len): Arg is unlock, lockShared or lockExclusive; waits
	nativeMark     // of a sequence: completes ID, with the error if it is not reached
	nativeReset    // forget that a sync has failed
	nativeRenew    // Len bytes at Off are zero, in blocks of the same length
	nativeCached   // as nativeSequence, of reads, up to the first that would have to wait; never fails
	numNativeOps
)

// What nativeLock does.
const (
	unlock = iota
	lockShared
	lockExclusive
)

var nativeNames = [numNativeOps]string{
	"NOP", "READ", "WRITE", "FSYNC", "FDATASYNC", "FTRUNC", "ALLOCATE", "FLUSH", "FSTAT", "CLOSE", "COPY", "CLONE", "SEQUENCE", "LOCK", "MARK", "RESET", "RENEW", "CACHED",
}

// Submission is one entry of the native mode's request ring, copied out of
// shared memory and validated against the size of the data area.
type Submission struct {
	ID     uint64
	Op     uint32
	Handle uint64
	Off    int64
	Buf    uint64 // offset in the data area, or the source's handle
	Len    uint64
	Arg    int64 // source offset of a copy
}

func (s *Submission) op() nativeOp { return nativeOp(s.Op) }

func (s *Submission) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], s.ID)
	le.PutUint64(b[8:], uint64(s.Op)) // flags, the upper half, are reserved
	le.PutUint64(b[16:], s.Handle)
	le.PutUint64(b[24:], uint64(s.Off))
	le.PutUint64(b[32:], s.Buf)
	le.PutUint64(b[40:], s.Len)
	le.PutUint64(b[48:], uint64(s.Arg))
	le.PutUint64(b[56:], 0)
}

// maxCopy bounds one copy, and what one submission may ask of a file.
const maxCopy = 1 << 40

// DecodeSubmission decodes a private copy of an entry; size is that of the
// data area. An error is a *RequestError, and the ID is valid even then.
func DecodeSubmission(b *[submissionSize]byte, size uint64) (Submission, error) {
	le := binary.LittleEndian
	s := Submission{
		ID: le.Uint64(b[0:]), Op: le.Uint32(b[8:]), Handle: le.Uint64(b[16:]), Off: int64(le.Uint64(b[24:])),
		Buf: le.Uint64(b[32:]), Len: le.Uint64(b[40:]), Arg: int64(le.Uint64(b[48:])),
	}
	bad := func(errno uint32, why string) (Submission, error) {
		return s, &RequestError{Off: s.ID, Errno: errno, Why: why}
	}
	if nativeOp(s.Op) >= numNativeOps {
		return bad(errnoENOSYS, fmt.Sprintf("no operation %d", s.Op))
	}
	if le.Uint32(b[12:]) != 0 || le.Uint64(b[56:]) != 0 {
		return bad(errnoEINVAL, "reserved bytes are not zero")
	}
	if s.Off < 0 || s.Arg < 0 || s.Len > maxCopy {
		return bad(errnoEINVAL, "offset or length out of range")
	}
	switch s.op() {
	case nativeRead, nativeWrite, nativeStat, nativeSequence, nativeCached:
		if !inside(size, s.Buf, s.Len) {
			return bad(errnoEFAULT, fmt.Sprintf("buffer of %d bytes at %d of %d shared", s.Len, s.Buf, size))
		}
	}
	switch {
	case s.op() == nativeStat && s.Len < nativeStatSize:
		return bad(errnoERANGE, "no room for the result")
	case (s.op() == nativeSequence || s.op() == nativeCached) && (s.Len%submissionSize != 0 || s.Len > nativeMaxBlock):
		return bad(errnoEINVAL, fmt.Sprintf("sequence of %d bytes", s.Len))
	case s.op() == nativeLock && s.Arg > lockExclusive:
		return bad(errnoEINVAL, fmt.Sprintf("no lock %d", s.Arg))
	}
	return s, nil
}

// completion answers a submission.
type completion struct {
	id     uint64
	result int64
	errno  uint32
}

func (c *completion) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], c.id)
	le.PutUint64(b[8:], uint64(c.result))
	le.PutUint64(b[16:], uint64(c.errno))
	le.PutUint64(b[24:], 0)
}

func decodeCompletion(b *[completionSize]byte) completion {
	le := binary.LittleEndian
	return completion{id: le.Uint64(b[0:]), result: int64(le.Uint64(b[8:])), errno: le.Uint32(b[16:])}
}

// nativeStatSize is 16 words: a Stat in fixed layout.
const nativeStatSize = 128

func (s *Stat) words() [16]uint64 {
	return [16]uint64{
		s.Dev, s.Ino, s.Nlink, s.Rdev, uint64(s.Mode), uint64(s.UID), uint64(s.GID),
		uint64(s.Size), uint64(s.Blksize), uint64(s.Blocks),
		uint64(s.Atime.Unix()), uint64(s.Atime.Nanosecond()),
		uint64(s.Mtime.Unix()), uint64(s.Mtime.Nanosecond()),
		uint64(s.Ctime.Unix()), uint64(s.Ctime.Nanosecond()),
	}
}

func (s *Stat) encodeNative(b []byte) {
	for i, w := range s.words() {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
}

func decodeNativeStat(b []byte) *Stat {
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	at := func(i int) time.Time { return time.Unix(int64(w(i)), int64(w(i+1))) }
	return &Stat{
		Dev: w(0), Ino: w(1), Nlink: w(2), Rdev: w(3), Mode: uint32(w(4)), UID: uint32(w(5)), GID: uint32(w(6)),
		Size: int64(w(7)), Blksize: int64(w(8)), Blocks: int64(w(9)), Atime: at(10), Mtime: at(12), Ctime: at(14),
	}
}
