package packetgen

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/vmbusring"
	"loomstore/vmbusring/internal/fixture"
)

// packet is one packet as another implementation of the generator printed it.
type packet struct {
	I       int    `json:"i"`
	Kind    string `json:"kind"`
	TID     string `json:"tid"`
	Size    int    `json:"size"`
	GPA     []gpa  `json:"gpa"`
	Set     uint16 `json:"set"`
	TP      []tp   `json:"tp"`
	Payload string `json:"payload"`
}

type gpa struct {
	Offset uint32   `json:"offset"`
	Len    uint32   `json:"len"`
	GPNs   []uint64 `json:"gpns"`
}

type tp [2]uint32

func TestOtherImplementation(t *testing.T) {
	f, err := os.Open(filepath.Join(fixture.Dir(t), "generator.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var run struct {
			Args    string
			Packets []packet
		}
		if err := json.Unmarshal(lines.Bytes(), &run); err != nil {
			t.Fatal(err)
		}
		g := New(parse(t, run.Args))
		var p vmbusring.Packet
		for i, want := range run.Packets {
			g.Packet(uint64(i), &p)
			if diff := cmp.Diff(want, printed(i, &p)); diff != "" {
				t.Errorf("%s: packet %d (-want +got): %s", run.Args, i, diff)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, args string) Stream {
	t.Helper()
	var s Stream
	words := strings.Fields(args)
	for i := 0; i+1 < len(words); i += 2 {
		var err error
		switch words[i] {
		case "--seed":
			s.Seed, err = strconv.ParseUint(words[i+1], 0, 64)
		case "--sizes":
			_, err = fmt.Sscanf(words[i+1], "%d..%d", &s.Lo, &s.Hi)
		case "--types":
			s.Mixed = words[i+1] == "mixed"
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func printed(i int, p *vmbusring.Packet) packet {
	kind := map[vmbusring.Type]string{
		vmbusring.InBand: "InBand", vmbusring.Completion: "Completion",
		vmbusring.GPADirect: "GpaDirect", vmbusring.TransferPages: "TransferPages",
	}[p.Type]
	if p.Type == vmbusring.InBand && p.CompletionRequested {
		kind = "InBandCompletion"
	}
	out := packet{
		I: i, Kind: kind, TID: fmt.Sprintf("0x%016x", p.TransactionID), Size: len(p.Payload),
		GPA: []gpa{}, Set: p.TransferSet, TP: []tp{}, Payload: fmt.Sprintf("%x", p.Payload),
	}
	for _, r := range p.GPARanges {
		out.GPA = append(out.GPA, gpa{r.Offset, r.Len, r.PFNs})
	}
	for _, r := range p.TransferRanges {
		out.TP = append(out.TP, tp{r.ByteCount, r.ByteOffset})
	}
	return out
}

// TestCompare makes sure that the check of a stream sees a change anywhere.
func TestCompare(t *testing.T) {
	changes := map[string]func(p *vmbusring.Packet){
		"type":    func(p *vmbusring.Packet) { p.Type ^= 1 },
		"id":      func(p *vmbusring.Packet) { p.TransactionID++ },
		"no id":   func(p *vmbusring.Packet) { p.HasTransactionID = false },
		"flag":    func(p *vmbusring.Packet) { p.CompletionRequested = !p.CompletionRequested },
		"set":     func(p *vmbusring.Packet) { p.TransferSet++ },
		"ranges":  func(p *vmbusring.Packet) { p.TransferRanges = append(p.TransferRanges, vmbusring.TransferRange{}) },
		"gpa":     func(p *vmbusring.Packet) { p.GPARanges = append(p.GPARanges, vmbusring.GPARange{Len: 1}) },
		"payload": func(p *vmbusring.Packet) { p.Payload[3] ^= 1 },
		"shorter": func(p *vmbusring.Packet) { p.Payload = p.Payload[8:] },
		"padding": func(p *vmbusring.Packet) { p.Payload[len(p.Payload)-1] = 1 },
	}
	stream := Stream{Seed: 1, Lo: 20, Hi: 20, Mixed: true}
	for name, change := range changes {
		for i := range uint64(20) {
			got, want := sent(stream, i), sent(stream, i)
			want.Payload = want.Payload[:20]
			if !want.HasTransactionID && (name == "id" || name == "no id") {
				continue // not looked at, or not there
			}
			if err := Compare(&got, &want); err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			change(&got)
			if Compare(&got, &want) == nil {
				t.Errorf("packet %d: a changed %s was not seen", i, name)
			}
		}
	}
}

// sent returns packet i as a ring delivers it.
func sent(s Stream, i uint64) vmbusring.Packet {
	var p vmbusring.Packet
	New(s).Packet(i, &p)
	p.Payload = append(p.Payload, make([]byte, -len(p.Payload)&7)...)
	return p
}
