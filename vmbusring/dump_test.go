package vmbusring

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/vmbusring/internal/fixture"
)

// dump is one entry of the fixtures' manifest.
type dump struct {
	Name     string
	File     string
	RingSize int `json:"ring_size"`
	Expect   string
	Upstream struct {
		Control struct {
			In              uint32
			Out             uint32
			InterruptMask   uint32 `json:"interrupt_mask"`
			PendingSendSize uint32 `json:"pending_send_size"`
			FeatureBits     uint32 `json:"feature_bits"`
		}
		Incoming string
		Outgoing string
		Packets  []dumpPacket
		NextOut  uint32 `json:"next_out"`
		Free     int
	}
	Pipe *struct {
		Byte, Message, Raw []any
	} `json:"upstream_pipe"`
}

type dumpPacket struct {
	At         int
	TID        *string
	Type       string
	Ranges     json.RawMessage
	Set        uint16
	PayloadLen int    `json:"payload_len"`
	FNV        string `json:"fnv1a64"`
}

// hardened says what a reader has to make of a dump with that expectation:
// the codes it may end with, none meaning empty.
var hardened = map[string][]Code{
	"valid: empty; free = size-8":                                     nil,
	"valid: empty":                                                    nil,
	"valid: same packets as upstream, then empty":                     nil,
	"valid; a writer should zero the pad bytes, as Linux and DPDK do": nil,
	"valid: free = 0":                                                 nil,
	"valid: free = 24":                                                nil,
	"valid: free = 32":                                                nil,
	"valid: never signal for it":                                      nil,
	"valid: pending send size not supported; ignore unknown bits":     nil,
	"valid: ignored":                                                  nil,
	"valid: payload of size-32 bytes, free = 0":                       nil,
	"error: invalid ring index (and nothing read)":                    {CodeIndex},
	"error: invalid data available":                                   {CodeAvailable},
	"error: invalid descriptor offset or length":                      {CodeDescriptor},
	"error: unknown flags":                                            {CodeFlags},
	"error: unknown packet type":                                      {CodeType},
	"error: invalid range count":                                      {CodeRangeCount},
	"error when the ranges are parsed":                                {CodeRangeShort, CodeRangeEmpty, CodeRangeOffset},
	"error when the ranges are parsed: range too small":               {CodeRangeShort},
	"error when the ranges are parsed: empty byte count":              {CodeRangeEmpty},
	"error when the ranges are parsed: offset too large":              {CodeRangeOffset},
	"first packet, then error":                                        {CodeDescriptor},
}

func loadDumps(t *testing.T) []dump {
	t.Helper()
	var dumps []dump
	fixture.Load(t, "manifest.json", &dumps)
	return dumps
}

func (d *dump) memory(t *testing.T) *Flat {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixture.Dir(t), d.File))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != PageSize+d.RingSize {
		t.Fatalf("%s has %d bytes", d.File, len(b))
	}
	return overCopy(t, b)
}

// overCopy returns a ring over an aligned copy of a dump.
func overCopy(t testing.TB, b []byte) *Flat {
	t.Helper()
	mem := slices.Clone(b)
	f, err := Over(mem, PageSize)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDumps reads every dump of the original's rings and expects the same
// packets, the same state, and the refusal of what a hardened end refuses.
func TestDumps(t *testing.T) {
	for _, d := range loadDumps(t) {
		t.Run(d.Name, func(t *testing.T) {
			mem := d.memory(t)
			up := d.Upstream
			if diff := cmp.Diff(ControlWords(up.Control), Inspect(mem)); diff != "" {
				t.Fatal("control page (-want +got):", diff)
			}
			codes, known := hardened[d.Expect]
			if d.Pipe != nil {
				codes, known = nil, true // the packets of a pipe's dump are all good
			}
			if !known {
				t.Fatalf("no rule for the expectation %q", d.Expect)
			}
			if up.Incoming != "ok" {
				_, err := NewReader(mem, 0)
				wantCode(t, err, codes)
				_, err = NewWriter(mem)
				wantCode(t, err, codes)
				return
			}
			r, err := NewReader(mem, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := up.Packets
			if len(codes) > 0 && strings.Contains(d.Expect, "ranges") {
				want = nil // upstream reads the packet, and fails at its ranges
			}
			var p Packet
			for i, w := range want {
				if err := r.Read(&p); err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				if diff := cmp.Diff(w.canonical(t), describe(&p)); diff != "" {
					t.Errorf("packet %d (-want +got): %s", i, diff)
				}
			}
			err = r.Read(&p)
			if len(codes) == 0 {
				if err != ErrEmpty {
					t.Fatalf("end is %v, expected empty", err)
				}
				if r.Commit(); mem.control.Out.Load() != up.NextOut {
					t.Errorf("out is %d after reading, expected %d", mem.control.Out.Load(), up.NextOut)
				}
			} else {
				wantCode(t, err, codes)
				if again := r.Read(&p); again != err {
					t.Errorf("corruption did not stick: %v", again)
				}
			}
			wantFree(t, d.memory(t), up.Free)
		})
	}
}

func wantFree(t *testing.T, mem Memory, want int) {
	t.Helper()
	w, err := NewWriter(mem)
	if err != nil {
		t.Fatal(err)
	}
	if free, err := w.Free(); err != nil || free != want {
		t.Errorf("free: %d, %v, expected %d", free, err, want)
	}
}

func wantCode(t *testing.T, err error, codes []Code) {
	t.Helper()
	var c *CorruptError
	if !errors.As(err, &c) || !errors.Is(err, ErrCorrupt) || !slices.Contains(codes, c.Code) {
		t.Fatalf("%v, expected one of %v", err, codes)
	}
}

// canonical and describe put the packet of the manifest and ours into one
// form. The manifest's ranges are JSON already.
func (p dumpPacket) canonical(t *testing.T) string {
	tid := "none"
	if p.TID != nil {
		tid = *p.TID
	}
	ranges := ""
	if p.Ranges != nil {
		var v any
		if err := json.Unmarshal(p.Ranges, &v); err != nil {
			t.Fatal(err)
		}
		ranges = fmt.Sprint(v)
	}
	return fmt.Sprintln(p.At, strings.ReplaceAll(p.Type, "-", "_"), tid, p.Set, ranges, p.PayloadLen, p.FNV)
}

func describe(p *Packet) string {
	tid, ranges := "none", ""
	if p.HasTransactionID {
		tid = fmt.Sprintf("0x%016x", p.TransactionID)
	}
	// Numbers as encoding/json makes them, for the same text.
	number := func(n uint64) any { return float64(n) }
	switch p.Type {
	case GPADirect:
		list := []any{}
		for _, g := range p.GPARanges {
			pfns := []any{}
			for _, pfn := range g.PFNs {
				pfns = append(pfns, number(pfn))
			}
			list = append(list, map[string]any{"len": number(uint64(g.Len)), "offset": number(uint64(g.Offset)), "gpns": pfns})
		}
		ranges = fmt.Sprint(list)
	case TransferPages:
		list := []any{}
		for _, r := range p.TransferRanges {
			list = append(list, []any{number(uint64(r.ByteCount)), number(uint64(r.ByteOffset))})
		}
		ranges = fmt.Sprint(list)
	}
	return fmt.Sprintln(p.At, p.Type, tid, p.TransferSet, ranges, len(p.Payload), hashOf(p.Payload))
}

func hashOf(b []byte) string {
	h := fnv.New64a()
	h.Write(b)
	return fmt.Sprintf("%016x", h.Sum64())
}

// hardenedPipe names the results in which a hardened pipe differs from the
// original's, by dump and mode. All others must be the same.
var hardenedPipe = map[string][]string{
	"byte-partial-300/byte": {string(CodePipeType)},         // a peer never writes type 2
	"bad-partial-eq/byte":   {string(CodePipeType)},         //
	"bad-partial-gt/byte":   {string(CodePipeType)},         //
	"peer-partial/byte":     {string(CodePipeType)},         //
	"bad-msg-16385/byte":    {string(CodePipeTooLarge)},     // defect 4
	"bad-pipe-second/byte":  {"good", string(CodePipeType)}, // defect 5
	"msg-3/byte":            {"hello", "eof"},               // the empty message ends a stream
}

func TestPipeDumps(t *testing.T) {
	errorsOf := map[string]Code{
		"error: packet is too large for the ring": CodePipeTooLarge,
		"error: unexpected ring packet type":      CodePipePacket,
	}
	for _, d := range loadDumps(t) {
		if d.Pipe == nil {
			continue
		}
		for mode, want := range map[PipeMode][]any{PipeByte: d.Pipe.Byte, PipeMessage: d.Pipe.Message, PipeRaw: d.Pipe.Raw} {
			name := d.Name + "/" + [...]string{"byte", "message", "raw"}[mode]
			t.Run(name, func(t *testing.T) {
				bufSize := 65536
				if mode == PipeByte {
					bufSize = 4096 // as upstream's results were made
				}
				got := decodeAll(t, d.memory(t), mode, bufSize)
				var expected []string
				for _, w := range want {
					switch w := w.(type) {
					case map[string]any:
						expected = append(expected, fmt.Sprint(w["len"], " ", w["fnv1a64"]))
					case string:
						if code, ok := errorsOf[w]; ok {
							w = string(code)
						} else if strings.HasPrefix(w, "error: invalid pipe packet type") {
							w = string(CodePipeType)
						} else if strings.HasPrefix(w, "error: memory access error: out of range") {
							w = string(CodePipeLength)
						}
						expected = append(expected, w)
					}
				}
				if other, ok := hardenedPipe[name]; ok {
					expected = nil
					for _, w := range other {
						if !strings.Contains(w, "_") && w != "eof" {
							w = fmt.Sprint(len(w), " ", hashOf([]byte(w)))
						}
						expected = append(expected, w)
					}
				}
				if diff := cmp.Diff(expected, got); diff != "" {
					t.Error("(-want +got)", diff)
				}
			})
		}
	}
}

// decodeAll reads a pipe to its end and returns each result.
func decodeAll(t *testing.T, mem Memory, mode PipeMode, bufSize int) []string {
	t.Helper()
	r, err := NewReader(mem, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, buf := NewPipeDecoder(mode), make([]byte, bufSize)
	var results []string
	for {
		n, err := d.Read(r, buf)
		var c *CorruptError
		switch {
		case err == nil:
			results = append(results, fmt.Sprint(n, " ", hashOf(buf[:n])))
			continue
		case err == ErrEmpty:
			results = append(results, "empty")
		case err == io.EOF:
			results = append(results, "eof")
		case errors.As(err, &c):
			results = append(results, string(c.Code))
		default:
			t.Fatal(err)
		}
		return results
	}
}
