package aiod

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Offsets inside a request, from the offset that the message names. All
// integers are little-endian (spec section 1).
const (
	msgSize = 8 // aiomsg_t: the offset of a request; also the reply

	offOp      = 0  // u32
	offErr     = 4  // u32, written on failure only
	offNopSize = 8  // u64
	offBufSize = 8  // u64, path operations
	offPath    = 16 // path operations
	offMkMode  = 16 // u32, MKDIR
	offMkPath  = 24 // MKDIR
	offFH      = 8  // u64: offset of the aiod_file
	offMode    = 16 // u32, OPEN
	offLength  = 16 // i64, FTRUNC
	offPos     = 16 // i64, READ WRITE READDIR
	offBuf     = 24 // u64: offset of the data
	offLen     = 32 // i64
	offFstat   = 16 // struct stat

	nopSize   = 16
	fhopSize  = 40
	fstatSize = offFstat + statSize

	fileHandle = 0 // u32
	fileFlags  = 4 // u32
	fileDev    = 8
	fileIno    = 16
	filePath   = 24 // NUL-terminated

	direntSize = 280
	direntName = 19
	pathMax    = 4096 // as the kernel bounds a path, its NUL included
)

// Linux error numbers that decoding gives, whatever system this runs on.
const (
	errnoENOENT       = 2
	errnoEFAULT       = 14
	errnoEINVAL       = 22
	errnoERANGE       = 34
	errnoENAMETOOLONG = 36
	errnoENOSYS       = 38
)

// RequestError says why a request can not be served.
type RequestError struct {
	Off   uint64 // of the request in the shared memory
	Errno uint32 // Linux's number for it, as replied
	Why   string
	// Mute is set when not even an error can be stored, because the request
	// itself lies outside the shared memory.
	Mute bool
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("aiod: request at %d: %s", e.Off, e.Why)
}

// Request is one request, copied out of shared memory and validated: every
// range that it names lies inside the memory that it was decoded from.
type Request struct {
	Off uint64
	Op  Op
	// Size is NOP's nopsize, and the room for the result of a path operation.
	Size         uint64
	Path1, Path2 string
	FH           uint64 // offset of the aiod_file
	Mode         uint32 // OPEN, MKDIR
	Pos          int64  // READ, WRITE: -1 is the current offset; FTRUNC: the length
	Buf, Len     uint64 // READ, WRITE, READDIR
}

// DecodeRequest copies the request at off out of mem, once, and validates the
// copy; mem may change at any moment. An error is always a *RequestError.
func DecodeRequest(abi ABI, mem []byte, off uint64) (Request, error) {
	var head [fhopSize]byte
	size := uint64(len(mem))
	if !inside(size, off, nopSize) {
		return Request{}, &RequestError{Off: off, Errno: errnoEFAULT, Mute: true,
			Why: fmt.Sprintf("outside the %d bytes shared", size)}
	}
	n := copy(head[:], mem[off:])
	r := Request{Off: off}
	bad := func(errno uint32, format string, args ...any) (Request, error) {
		return r, &RequestError{Off: off, Errno: errno, Why: r.Op.String() + ": " + fmt.Sprintf(format, args...)}
	}
	wire := binary.LittleEndian.Uint32(head[offOp:])
	op, ok := abi.decode(wire)
	if !ok {
		r.Op = numOps
		return r, &RequestError{Off: off, Errno: errnoENOSYS, Why: fmt.Sprintf("no operation %d", int32(wire))}
	}
	r.Op = op
	second := binary.LittleEndian.Uint64(head[8:])
	switch op {
	case OpNop:
		r.Size = max(second, nopSize)
		if !inside(size, off, r.Size) {
			return bad(errnoEFAULT, "%d bytes of %d shared", r.Size, size)
		}
		return r, nil
	case OpUnlink, OpLink, OpSymlink, OpRename, OpReadlink, OpStat, OpLstat, OpGetcwd, OpStatvfs, OpMkdir:
		return r, r.decodePaths(mem, head[:n], second)
	}
	if n < fhopSize {
		return bad(errnoEFAULT, "%d of %d bytes of the request are shared", n, fhopSize)
	}
	r.FH = second
	r.Mode = binary.LittleEndian.Uint32(head[offMode:])
	r.Pos = int64(binary.LittleEndian.Uint64(head[offPos:]))
	if !inside(size, r.FH, filePath+1) {
		return bad(errnoEFAULT, "file at %d of %d bytes shared", r.FH, size)
	}
	switch op {
	case OpRead, OpWrite, OpReaddir:
		r.Buf = binary.LittleEndian.Uint64(head[offBuf:])
		r.Len = binary.LittleEndian.Uint64(head[offLen:])
		if !inside(size, r.Buf, r.Len) {
			return bad(errnoEFAULT, "buffer of %d bytes at %d of %d shared", r.Len, r.Buf, size)
		}
	case OpFstat:
		if !inside(size, off, fstatSize) {
			return bad(errnoEFAULT, "no room for the result")
		}
	}
	return r, nil
}

// decodePaths reads the strings of a path operation. They are bounded by the
// shared memory and by PATH_MAX, not by bufsize: that is the room for the
// result, which clients give smaller than the path (spec section 6).
func (r *Request) decodePaths(mem, head []byte, bufsize uint64) error {
	at, size := r.Off+offPath, uint64(len(mem))
	room := uint64(0)
	switch r.Op {
	case OpMkdir:
		if len(head) < offMkPath {
			return &RequestError{Off: r.Off, Errno: errnoEFAULT, Why: "MKDIR: cut off by the end of the shared memory"}
		}
		r.Mode = binary.LittleEndian.Uint32(head[offMkMode:])
		at = r.Off + offMkPath
	case OpStat, OpLstat:
		room = statSize
	case OpStatvfs:
		room = statvfsSize
	case OpReadlink, OpGetcwd:
		room = bufsize
	}
	r.Size = bufsize
	if room > bufsize {
		return &RequestError{Off: r.Off, Errno: errnoERANGE,
			Why: fmt.Sprintf("%v: a buffer of %d bytes for a result of %d", r.Op, bufsize, room)}
	}
	if !inside(size, at, room) {
		return &RequestError{Off: r.Off, Errno: errnoEFAULT, Why: r.Op.String() + ": no room for the result"}
	}
	var err error
	if r.Path1, err = r.cstring(mem, at); err != nil {
		return err
	}
	switch r.Op {
	case OpLink, OpSymlink, OpRename:
		r.Path2, err = r.cstring(mem, at+uint64(len(r.Path1))+1)
	}
	return err
}

// cstring copies the string at off, then looks for its NUL in the copy.
func (r *Request) cstring(mem []byte, off uint64) (string, error) {
	var buf [pathMax]byte
	if off > uint64(len(mem)) {
		return "", &RequestError{Off: r.Off, Errno: errnoEFAULT, Why: r.Op.String() + ": path outside the shared memory"}
	}
	// In two steps, because most paths are short.
	for n, limit := 0, 128; ; limit = pathMax {
		have := copy(buf[n:limit], mem[off+uint64(n):])
		if end := bytes.IndexByte(buf[n:n+have], 0); end >= 0 {
			return string(buf[:n+end]), nil
		}
		n += have
		if n == pathMax {
			return "", &RequestError{Off: r.Off, Errno: errnoENAMETOOLONG, Why: r.Op.String() + ": path too long"}
		}
		if n < limit {
			return "", &RequestError{Off: r.Off, Errno: errnoEFAULT, Why: r.Op.String() + ": path without an end"}
		}
	}
}

// fileRef is an aiod_file copied out of shared memory.
type fileRef struct {
	handle, flags uint32
	dev, ino      uint64
}

// file copies the fixed part of the request's aiod_file.
func (r *Request) file(mem []byte) fileRef {
	var b [filePath]byte
	copy(b[:], mem[r.FH:])
	return fileRef{
		handle: binary.LittleEndian.Uint32(b[fileHandle:]),
		flags:  binary.LittleEndian.Uint32(b[fileFlags:]),
		dev:    binary.LittleEndian.Uint64(b[fileDev:]),
		ino:    binary.LittleEndian.Uint64(b[fileIno:]),
	}
}

// inside reports whether [off, off+n) lies in size bytes, without overflow.
func inside(size, off, n uint64) bool { return off <= size && n <= size-off }
