package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"loomstore/internal/checksum"
)

// UUID identifies a store: every record and header carries it, so that files
// of two stores can not be mixed up (R5).
type UUID [16]byte

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// recordMagic is read as version 0x4d4f4f4c by vere, which it refuses.
const recordMagic = "LOOMCTL\x00"

const formatVersion = 1

// Offsets in a record block; the table is in the package doc.
const (
	recVersion   = 8
	recPageSize  = 12
	recStore     = 16
	recBase      = 32
	recEpoch     = 40
	recOldPages  = 48
	recNewPages  = 56
	recLow       = 64
	recOldDigest = 72
	recNewDigest = 88
	recLines     = 104
	recBody      = 112
	recLinesHash = 120
	recRewrite   = 128
	recAppLen    = 136
	recApp       = 144
	recEnd       = recApp + MaxAppRecord
	blockHash    = BlockSize - 8
)

// Record is a commit record: once it is durable, its checkpoint is.
type Record struct {
	Store      UUID
	Base       uint64 // epoch that the patch goes on top of
	Epoch      uint64
	OldPages   int   // pages of the image at Base
	NewPages   int   // pages of the image at Epoch
	Low        int64 // low watermark, bytes
	OldDigest  Digest
	NewDigest  Digest
	Lines      int   // pages in the body
	BodyOffset int64 // of the body in memory.bin
	LinesHash  uint64
	Rewrite    uint64 // counts how often recovery wrote this record again
	App        []byte // application record, at most MaxAppRecord bytes
}

// Validate checks what a record must hold whatever the files around it are.
func (r *Record) Validate(g Geometry) error {
	switch {
	case r.Epoch != 0 && r.Base != r.Epoch-1, r.Epoch == 0 && r.Base != 0:
		return fmt.Errorf("epoch %d on base %d", r.Epoch, r.Base)
	case r.OldPages < 0 || r.OldPages > maxPages || r.NewPages < 0 || r.NewPages > maxPages:
		return fmt.Errorf("%d pages before, %d after", r.OldPages, r.NewPages)
	case r.Lines < 0 || r.Lines > r.NewPages:
		return fmt.Errorf("%d lines for %d pages", r.Lines, r.NewPages)
	case r.Low < 0 || (r.Low+int64(g.PageSize)-1)/int64(g.PageSize) != int64(r.NewPages):
		return fmt.Errorf("low watermark %d for %d pages", r.Low, r.NewPages)
	case r.BodyOffset < 0 || r.BodyOffset%BlockSize != 0 || r.BodyOffset > 1<<62:
		return fmt.Errorf("body offset %d", r.BodyOffset)
	case len(r.App) > MaxAppRecord:
		return fmt.Errorf("application record of %d bytes, at most %d", len(r.App), MaxAppRecord)
	}
	return nil
}

// Marshal returns the record's block. The record must be valid.
func (r *Record) Marshal(g Geometry) []byte {
	if err := r.Validate(g); err != nil {
		panic("patch: writing an invalid record: " + err.Error())
	}
	b := make([]byte, BlockSize)
	le := binary.LittleEndian
	copy(b, recordMagic)
	le.PutUint32(b[recVersion:], formatVersion)
	le.PutUint32(b[recPageSize:], uint32(g.PageSize))
	copy(b[recStore:], r.Store[:])
	le.PutUint64(b[recBase:], r.Base)
	le.PutUint64(b[recEpoch:], r.Epoch)
	le.PutUint64(b[recOldPages:], uint64(r.OldPages))
	le.PutUint64(b[recNewPages:], uint64(r.NewPages))
	le.PutUint64(b[recLow:], uint64(r.Low))
	le.PutUint64(b[recOldDigest:], r.OldDigest.Hi)
	le.PutUint64(b[recOldDigest+8:], r.OldDigest.Lo)
	le.PutUint64(b[recNewDigest:], r.NewDigest.Hi)
	le.PutUint64(b[recNewDigest+8:], r.NewDigest.Lo)
	le.PutUint64(b[recLines:], uint64(r.Lines))
	le.PutUint64(b[recBody:], uint64(r.BodyOffset))
	le.PutUint64(b[recLinesHash:], r.LinesHash)
	le.PutUint64(b[recRewrite:], r.Rewrite)
	le.PutUint32(b[recAppLen:], uint32(len(r.App)))
	copy(b[recApp:], r.App)
	SealBlock(b)
	return b
}

// UnmarshalRecord decodes one block. Its error says why it is not a record of
// this geometry; ErrMismatch where it is a whole one of another version or
// page size.
func UnmarshalRecord(b []byte, g Geometry) (*Record, error) {
	if err := OpenBlock(b, recordMagic, recEnd); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if err := CheckVersion(b, g); err != nil {
		return nil, err
	}
	appLen := le.Uint32(b[recAppLen:])
	if appLen > MaxAppRecord || le.Uint32(b[recAppLen+4:]) != 0 || !allZero(b[recApp+int(appLen):recEnd]) {
		return nil, fmt.Errorf("application record of %d bytes, at most %d, zeros behind it", appLen, MaxAppRecord)
	}
	for _, at := range []int{recOldPages, recNewPages, recLow, recLines, recBody} {
		if le.Uint64(b[at:]) > 1<<62 {
			return nil, fmt.Errorf("value %#x at %d", le.Uint64(b[at:]), at)
		}
	}
	r := &Record{
		Store:      UUID(b[recStore : recStore+16]),
		Base:       le.Uint64(b[recBase:]),
		Epoch:      le.Uint64(b[recEpoch:]),
		OldPages:   int(le.Uint64(b[recOldPages:])),
		NewPages:   int(le.Uint64(b[recNewPages:])),
		Low:        int64(le.Uint64(b[recLow:])),
		OldDigest:  Digest{le.Uint64(b[recOldDigest:]), le.Uint64(b[recOldDigest+8:])},
		NewDigest:  Digest{le.Uint64(b[recNewDigest:]), le.Uint64(b[recNewDigest+8:])},
		Lines:      int(le.Uint64(b[recLines:])),
		BodyOffset: int64(le.Uint64(b[recBody:])),
		LinesHash:  le.Uint64(b[recLinesHash:]),
		Rewrite:    le.Uint64(b[recRewrite:]),
		App:        bytes.Clone(b[recApp : recApp+int(appLen)]),
	}
	if err := r.Validate(g); err != nil {
		return nil, err
	}
	return r, nil
}

// IsRecord reports whether b begins like a commit record, whole or not.
func IsRecord(b []byte) bool { return bytes.HasPrefix(b, []byte(recordMagic)) }

// SealBlock writes the hash at the end of a block.
func SealBlock(b []byte) {
	binary.LittleEndian.PutUint64(b[blockHash:], checksum.Sum64(b[:blockHash]))
}

// errNoBlock reports bytes that no finished write of ours left.
var errNoBlock = errors.New("not a block: magic, hash or reserved bytes are wrong")

// OpenBlock checks length, magic, hash and the zeros between end and the hash
// of a block. The header of sums.bin has the same frame.
func OpenBlock(b []byte, magic string, end int) error {
	if len(b) != BlockSize || string(b[:len(magic)]) != magic ||
		binary.LittleEndian.Uint64(b[blockHash:]) != checksum.Sum64(b[:blockHash]) || !allZero(b[end:blockHash]) {
		return errNoBlock
	}
	return nil
}

// CheckVersion compares the version and page size that both kinds of block
// carry at the same place.
func CheckVersion(b []byte, g Geometry) error {
	le := binary.LittleEndian
	if v := le.Uint32(b[recVersion:]); v != formatVersion {
		return fmt.Errorf("format version %d, this program knows %d: %w", v, formatVersion, ErrMismatch)
	}
	if p := le.Uint32(b[recPageSize:]); p != uint32(g.PageSize) {
		return fmt.Errorf("pages of %d bytes, this program has %d: %w", p, g.PageSize, ErrMismatch)
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
