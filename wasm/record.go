package wasm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const (
	recordMagic   = "loomwasm"
	recordVersion = 1
	recordHeader  = 56
	recordMax     = 1024 // what a loom takes: DESIGN.md section 4

	// maxValues bounds globals and host values together.
	maxValues = (recordMax - recordHeader) / 8

	wasmPage = 65536
)

// record is the state of a module outside its memory.
type record struct {
	module  [sha256.Size]byte
	memory  uint64   // bytes
	globals []uint64 // raw bits
	host    []uint64
}

func (r *record) MarshalBinary() ([]byte, error) {
	if n := len(r.globals) + len(r.host); n > maxValues {
		return nil, fmt.Errorf("%w: %d globals and host values, at most %d fit", ErrRecord, n, maxValues)
	}
	b := make([]byte, 0, recordMax)
	b = append(b, recordMagic...)
	b = binary.LittleEndian.AppendUint16(b, recordVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.globals)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.host)))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = append(b, r.module[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.memory)
	for _, v := range r.globals {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, v := range r.host {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b, nil
}

func (r *record) UnmarshalBinary(b []byte) error {
	if len(b) < recordHeader || string(b[:8]) != recordMagic {
		return fmt.Errorf("%w: %d bytes that do not begin with %q", ErrRecord, len(b), recordMagic)
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != recordVersion {
		return fmt.Errorf("%w: version %d, want %d", ErrRecord, v, recordVersion)
	}
	if z := binary.LittleEndian.Uint16(b[14:]); z != 0 {
		return fmt.Errorf("%w: reserved bytes hold %#x", ErrRecord, z)
	}
	g, h := int(binary.LittleEndian.Uint16(b[10:])), int(binary.LittleEndian.Uint16(b[12:]))
	if want := recordHeader + 8*(g+h); len(b) != want || want > recordMax {
		return fmt.Errorf("%w: %d bytes for %d globals and %d host values, want %d", ErrRecord, len(b), g, h, want)
	}
	copy(r.module[:], b[16:])
	r.memory = binary.LittleEndian.Uint64(b[48:])
	values := make([]uint64, g+h)
	for i := range values {
		values[i] = binary.LittleEndian.Uint64(b[recordHeader+8*i:])
	}
	r.globals, r.host = values[:g:g], values[g:]
	return nil
}
