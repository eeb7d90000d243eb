package command

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/vmbusring"
)

// vmbusCtl runs one command and returns what it printed.
func vmbusCtl(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main(append([]string{"loomctl"}, args...), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// dumpDocument runs `vmbus dump --json` and returns its document, whatever
// the exit code.
func dumpDocument(t *testing.T, args ...string) (int, map[string]any) {
	t.Helper()
	code, stdout, stderr := vmbusCtl(append([]string{"vmbus", "dump", "--json"}, args...)...)
	var document map[string]any
	if err := json.Unmarshal([]byte(stdout), &document); err != nil {
		t.Fatalf("exit code %d, no document: %v\n%s%s", code, err, stdout, stderr)
	}
	if (code == 0) != (stderr == "") {
		t.Errorf("exit code %d with %q on stderr", code, stderr)
	}
	return code, document
}

// TestVMBusDump holds the whole document of a ring with one packet of each
// type against docs/cli-json.md.
func TestVMBusDump(t *testing.T) {
	mem := make([]byte, vmbusring.PageSize+4096)
	ring, err := vmbusring.Over(mem, vmbusring.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	w, err := vmbusring.NewWriter(ring)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*vmbusring.Packet{
		{Type: vmbusring.InBand, TransactionID: 77},
		{Type: vmbusring.Completion, TransactionID: 5, Payload: []byte("a")},
		{Type: vmbusring.GPADirect, TransactionID: 6, GPARanges: []vmbusring.GPARange{{Len: 4096, Offset: 1, PFNs: []uint64{8, 9}}}},
		{Type: vmbusring.TransferPages, TransactionID: 7, TransferSet: 3, TransferRanges: []vmbusring.TransferRange{{ByteCount: 10, ByteOffset: 20}}},
	} {
		if err := w.Append(p); err != nil {
			t.Fatal(err)
		}
	}
	w.Commit()
	name := filepath.Join(t.TempDir(), "ring")
	if err := os.WriteFile(name, mem, 0o600); err != nil {
		t.Fatal(err)
	}
	const want = `{
		"schema": 1,
		"control": {"in": 152, "out": 0, "interrupt_mask": 0, "pending_send_size": 0, "feature_bits": 1},
		"packets": [
			{"type": "inband", "transaction_id": null, "payload_len": 0, "fnv1a64": "cbf29ce484222325", "ranges": null, "at": 0},
			{"type": "completion", "transaction_id": "0x0000000000000005", "payload_len": 8, "fnv1a64": "6926124a7b1433c4", "ranges": null, "at": 24},
			{"type": "gpa_direct", "transaction_id": "0x0000000000000006", "payload_len": 0, "fnv1a64": "cbf29ce484222325",
			 "ranges": [{"offset": 1, "len": 4096, "gpns": [8, 9]}], "at": 56},
			{"type": "transfer_pages", "transaction_id": "0x0000000000000007", "payload_len": 0, "fnv1a64": "cbf29ce484222325",
			 "ranges": [[10, 20]], "at": 112}
		],
		"end": "empty",
		"free": 3936
	}`
	var expected map[string]any
	if err := json.Unmarshal([]byte(want), &expected); err != nil {
		t.Fatal(err)
	}
	code, got := dumpDocument(t, "--ring-size", "4096", name)
	if diff := cmp.Diff(expected, got); diff != "" || code != 0 {
		t.Errorf("exit code %d (-want +got): %s", code, diff)
	}
	after, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(after, mem) {
		t.Errorf("the dump has changed its file: %v", err)
	}

	mem[0] = 4 // in is no multiple of 8 now
	if err := os.WriteFile(name, mem, 0o600); err != nil {
		t.Fatal(err)
	}
	code, got = dumpDocument(t, "--ring-size", "4096", "--pipe", "raw", name)
	if code != ExitDamaged || got["end"] != "invalid_ring_index" || got["free"] != nil {
		t.Errorf("bad index: exit code %d, %v", code, got)
	}
}

// TestVMBusDumpFixtures dumps every ring of the fixtures: the same control
// page, packets and free bytes, exit code 3 exactly for what is broken.
func TestVMBusDumpFixtures(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", "vmbus")
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Skipf("not run: the VMBus fixtures are missing (%v)", err)
	}
	var dumps []struct {
		Name, File, Expect string
		RingSize           json.Number `json:"ring_size"`
		Upstream           struct {
			Control map[string]any
			Packets []map[string]any
			Free    any
		}
		Pipe map[string]any `json:"upstream_pipe"`
	}
	if err := json.Unmarshal(b, &dumps); err != nil {
		t.Fatal(err)
	}
	for _, d := range dumps {
		code, got := dumpDocument(t, "--ring-size", d.RingSize.String(), filepath.Join(dir, d.File))
		good := d.Pipe != nil || strings.HasPrefix(d.Expect, "valid")
		if good != (code == 0) || good != (got["end"] == "empty") || !good && code != ExitDamaged {
			t.Errorf("%s: exit code %d, end %v, expected: %s", d.Name, code, got["end"], d.Expect)
		}
		if diff := cmp.Diff(d.Upstream.Control, got["control"]); diff != "" {
			t.Errorf("%s: control (-want +got): %s", d.Name, diff)
		}
		if diff := cmp.Diff(d.Upstream.Free, got["free"]); diff != "" {
			t.Errorf("%s: free (-want +got): %s", d.Name, diff)
		}
		if !good {
			continue
		}
		packets := got["packets"].([]any)
		if len(packets) != len(d.Upstream.Packets) {
			t.Errorf("%s: %d packets, expected %d", d.Name, len(packets), len(d.Upstream.Packets))
			continue
		}
		for i, want := range d.Upstream.Packets {
			got := packets[i].(map[string]any)
			for _, field := range [][2]string{{"at", "at"}, {"payload_len", "payload_len"}, {"fnv1a64", "fnv1a64"}, {"transaction_id", "tid"}, {"ranges", "ranges"}} {
				if diff := cmp.Diff(want[field[1]], got[field[0]]); diff != "" {
					t.Errorf("%s: packet %d: %s (-want +got): %s", d.Name, i, field[0], diff)
				}
			}
		}
		if modes := d.Pipe; modes != nil {
			testPipeDump(t, d.Name, d.RingSize.String(), filepath.Join(dir, d.File), modes["raw"].([]any))
		}
	}
}

// testPipeDump compares the raw mode, in which nothing differs from the
// original; the other modes are tested where they are implemented.
func testPipeDump(t *testing.T, name, size, file string, want []any) {
	t.Helper()
	code, got := dumpDocument(t, "--ring-size", size, "--pipe", "raw", file)
	reads, end := want[:len(want)-1], want[len(want)-1]
	if end != "empty" {
		if code != ExitDamaged {
			t.Errorf("%s: exit code %d, expected %v", name, code, end)
		}
	} else if code != 0 || got["end"] != "empty" {
		t.Errorf("%s: exit code %d, end %v", name, code, got["end"])
	}
	if diff := cmp.Diff(reads, got["reads"]); diff != "" {
		t.Errorf("%s: reads (-want +got): %s", name, diff)
	}
}
