package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"loomstore/vmbusring"
	"loomstore/vmbusring/packetgen"
)

const vmbusRing = vmbusring.PageSize

// vmbusMemory lays fuzzed bytes over a ring: in and out from the indices, data
// from the rest, so that the fuzzer need not invent a page of zeroes.
func vmbusMemory(t *testing.T, in, out uint32, data []byte) *vmbusring.Flat {
	t.Helper()
	mem := make([]byte, vmbusring.PageSize+vmbusRing)
	binary.LittleEndian.PutUint32(mem[0:], in)
	binary.LittleEndian.PutUint32(mem[4:], out)
	ring := mem[vmbusring.PageSize:]
	at := int(out % vmbusRing)
	copy(ring, data[min(len(data), copy(ring[at:], data)):])
	f, err := vmbusring.Over(mem, vmbusring.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func vmbusSeeds(f *testing.F) {
	mem, err := vmbusring.NewFlat(vmbusRing)
	if err != nil {
		f.Fatal(err)
	}
	w, err := vmbusring.NewWriter(mem)
	if err != nil {
		f.Fatal(err)
	}
	g := packetgen.New(packetgen.Stream{Seed: 1, Hi: 100, Mixed: true})
	var p vmbusring.Packet
	for i := range uint64(8) {
		g.Packet(i, &p)
		if err := w.Append(&p); err != nil {
			f.Fatal(err)
		}
	}
	pipe := vmbusring.Packet{Type: vmbusring.InBand, Payload: []byte{1, 0, 0, 0, 5, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'}}
	if err := w.Append(&pipe); err != nil {
		f.Fatal(err)
	}
	w.Commit()
	in := vmbusring.Inspect(mem).In
	f.Add(in, uint32(0), mem.Run(0)[:in])
	f.Add(in-24, uint32(vmbusRing-24), mem.Run(0)[:in])
	f.Add(uint32(64), uint32(0), []byte{6, 0, 2, 0, 8, 0, 0, 0})
	f.Add(uint32(40), uint32(0), []byte{6, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'})
	f.Add(uint32(3), uint32(0), []byte(nil))
}

// FuzzVMBusRing reads a ring whose every byte is the fuzzer's: packets, then
// empty or a named error, within the bytes that are there.
func FuzzVMBusRing(f *testing.F) {
	vmbusSeeds(f)
	f.Fuzz(func(t *testing.T, in, out uint32, data []byte) {
		mem := vmbusMemory(t, in, out, data)
		r, err := vmbusring.NewReader(mem, 0)
		if err != nil {
			if !errors.Is(err, vmbusring.ErrCorrupt) || in < vmbusRing && in%8 == 0 && out < vmbusRing && out%8 == 0 {
				t.Fatal(err)
			}
			return
		}
		var p vmbusring.Packet
		taken := 0
		for {
			err := r.Read(&p)
			if errors.Is(err, vmbusring.ErrEmpty) {
				break
			}
			if err != nil {
				var corrupt *vmbusring.CorruptError
				if !errors.As(err, &corrupt) || corrupt.Code == "" {
					t.Fatal(err)
				}
				if again := r.Read(&p); again != err {
					t.Fatalf("%v did not stick: %v", err, again)
				}
				return
			}
			taken += p.PacketSize(0)
			if avail := (int(in) - int(out) + vmbusRing) % vmbusRing; taken > avail {
				t.Fatalf("%d bytes of packets, %d are there", taken, avail)
			}
			writeBack(t, &p)
		}
		r.Commit()
		if got := vmbusring.Inspect(mem).Out; got != in {
			t.Fatalf("empty with out at %d and in at %d", got, in)
		}
	})
}

// writeBack writes a packet that was accepted and reads it again: it must be
// one that a writer may send.
func writeBack(t *testing.T, p *vmbusring.Packet) {
	t.Helper()
	sent := *p
	if sent.Type == vmbusring.Completion {
		sent.CompletionRequested = false // accepted, but never sent
	}
	mem, err := vmbusring.NewFlat(vmbusRing)
	if err != nil {
		t.Fatal(err)
	}
	w, err := vmbusring.NewWriter(mem)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(&sent); err != nil {
		t.Fatalf("%+v: %v", sent, err)
	}
	w.Commit()
	r, err := vmbusring.NewReader(mem, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got vmbusring.Packet
	if err := r.Read(&got); err != nil {
		t.Fatalf("%+v: %v", sent, err)
	}
	if sent.Type == vmbusring.GPADirect || sent.Type == vmbusring.TransferPages {
		sent.CompletionRequested, sent.HasTransactionID = true, true // always set by a writer
		got.TransactionID = sent.TransactionID                       // not reported if the flag was clear
	}
	if err := packetgen.Compare(&got, &sent); err != nil {
		t.Fatal(err)
	}
}

// FuzzVMBusPipe reads such a ring as a pipe of each mode, in pieces of that
// size. What a stream delivers must not depend on the pieces.
func FuzzVMBusPipe(f *testing.F) {
	mem := []byte{6, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	fin := []byte{6, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	f.Add(uint32(40), uint32(0), uint8(3), mem)
	f.Add(uint32(72), uint32(0), uint8(100), append(mem, fin...))
	f.Add(uint32(112), uint32(0), uint8(100), append(append(mem, fin...), mem...))
	mem = bytes.Clone(mem)
	mem[16] = 2
	f.Add(uint32(40), uint32(0), uint8(8), mem)
	f.Fuzz(func(t *testing.T, in, out uint32, piece uint8, data []byte) {
		size := 1 + int(piece)
		pieces, end := vmbusPipe(t, vmbusMemory(t, in, out, data), vmbusring.PipeByte, size)
		whole, wholeEnd := vmbusPipe(t, vmbusMemory(t, in, out, data), vmbusring.PipeByte, vmbusRing)
		if !bytes.Equal(pieces, whole) || end != wholeEnd {
			t.Fatalf("in pieces of %d: %d bytes and %q, at once: %d bytes and %q", size, len(pieces), end, len(whole), wholeEnd)
		}
		vmbusPipe(t, vmbusMemory(t, in, out, data), vmbusring.PipeMessage, vmbusRing)
		vmbusPipe(t, vmbusMemory(t, in, out, data), vmbusring.PipeRaw, vmbusRing)
	})
}

// vmbusPipe returns all data of a pipe and how it ended.
func vmbusPipe(t *testing.T, mem vmbusring.Memory, mode vmbusring.PipeMode, size int) ([]byte, string) {
	t.Helper()
	r, err := vmbusring.NewReader(mem, 0)
	if err != nil {
		return nil, err.Error()
	}
	d, buf := vmbusring.NewPipeDecoder(mode), make([]byte, size)
	var all []byte
	for {
		n, err := d.Read(r, buf)
		if err != nil {
			if err != io.EOF && !errors.Is(err, vmbusring.ErrEmpty) && !errors.Is(err, vmbusring.ErrCorrupt) {
				t.Fatal(err)
			}
			return all, err.Error()
		}
		if all = append(all, buf[:n]...); len(all) > vmbusRing {
			t.Fatalf("%d bytes out of a ring of %d", len(all), vmbusRing)
		}
	}
}
