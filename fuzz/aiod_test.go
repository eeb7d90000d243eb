package fuzz

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"loomstore/aiod"
)

// FuzzAiodRequest decodes requests of both ABIs from hostile shared memory:
// whatever is accepted names only bytes inside it.
func FuzzAiodRequest(f *testing.F) {
	request := func(op uint32, words ...uint64) []byte {
		b := binary.LittleEndian.AppendUint64(nil, uint64(op))
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	path := append(request(6, 144), "d/file\x00\x00"+strings.Repeat("\x00", 144)...)
	read := append(request(14, 64, 0, 128, 64), make([]byte, 256)...)
	f.Add(false, uint64(0), request(0, 16))
	f.Add(false, uint64(0), path)
	f.Add(true, uint64(8), append(make([]byte, 8), path...))
	f.Add(false, uint64(0), read)
	f.Add(false, ^uint64(0), read)
	f.Add(false, uint64(0), request(14, ^uint64(0), 0, ^uint64(0)-7, 16))
	f.Add(false, uint64(0), append(request(4, 14), "d/file\x00d/new\x00"...))
	f.Add(true, uint64(0), append(request(20, 6, 0o755), "d/dir\x00"...))
	f.Fuzz(func(t *testing.T, old bool, off uint64, mem []byte) {
		abi := aiod.ABI2
		if old {
			abi = aiod.ABI1
		}
		before := string(mem)
		r, err := aiod.DecodeRequest(abi, mem, off)
		if string(mem) != before {
			t.Fatal("decoding changed the memory")
		}
		if err != nil {
			var e *aiod.RequestError
			if !errors.As(err, &e) || e.Errno == 0 {
				t.Fatalf("error without a number: %v", err)
			}
			if !e.Mute && (off > uint64(len(mem)) || uint64(len(mem))-off < 16) {
				t.Fatalf("an error would be stored outside: %v", err)
			}
			return
		}
		inside := func(what string, off, n uint64) {
			if off > uint64(len(mem)) || n > uint64(len(mem))-off {
				t.Fatalf("%v: %s [%d, +%d) of %d bytes", r.Op, what, off, n, len(mem))
			}
		}
		inside("request", off, 16)
		if strings.ContainsRune(r.Path1+r.Path2, 0) || len(r.Path1) >= 4096 || len(r.Path2) >= 4096 {
			t.Fatalf("paths %q, %q", r.Path1, r.Path2)
		}
		switch r.Op {
		case aiod.OpNop:
			inside("zeroes", off, r.Size)
		case aiod.OpRead, aiod.OpWrite, aiod.OpReaddir:
			inside("request", off, 40)
			inside("buffer", r.Buf, r.Len)
			inside("file", r.FH, 25)
		case aiod.OpOpen, aiod.OpClose, aiod.OpFsync, aiod.OpFtrunc, aiod.OpOpendir, aiod.OpClosedir:
			inside("file", r.FH, 25)
		case aiod.OpFstat:
			inside("result", off+16, 128)
		case aiod.OpStat, aiod.OpLstat, aiod.OpStatvfs:
			inside("result", off+16, 112)
		case aiod.OpReadlink, aiod.OpGetcwd:
			inside("result", off+16, r.Size)
		}
	})
}

// FuzzAiodSubmission decodes entries of the native ring.
func FuzzAiodSubmission(f *testing.F) {
	entry := func(words ...uint64) []byte {
		b := make([]byte, 64)
		for i, w := range words {
			binary.LittleEndian.PutUint64(b[8*i:], w)
		}
		return b
	}
	f.Add(entry(1, 1, 7, 4096, 0, 4096), uint64(8192))
	f.Add(entry(1, 2, 7, 4096, 8192, 1), uint64(8192))
	f.Add(entry(1, 12, 0, 0, 0, 128), uint64(8192))
	f.Add(entry(^uint64(0), 99, 1, 1, 1, 1, 1, 1), uint64(8192))
	f.Fuzz(func(t *testing.T, b []byte, size uint64) {
		var entry [64]byte
		copy(entry[:], b)
		s, err := aiod.DecodeSubmission(&entry, size)
		if s.ID != binary.LittleEndian.Uint64(entry[:]) {
			t.Fatal("the id is lost: nobody would be told")
		}
		if err != nil {
			return
		}
		if s.Off < 0 || s.Arg < 0 {
			t.Fatalf("negative offset: %+v", s)
		}
		switch s.Op {
		case 1, 2, 8, 12, 17: // read, write, stat, sequence, cached
			if s.Buf > size || s.Len > size-s.Buf {
				t.Fatalf("buffer outside %d bytes: %+v", size, s)
			}
		case 13: // lock
			if s.Arg > 2 {
				t.Fatalf("no such lock: %+v", s)
			}
		}
	})
}
