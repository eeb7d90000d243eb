package shmring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/internal/mapping"
)

// fixtureDir finds the dumps that upstream's code wrote, beside the module.
func fixtureDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			found := filepath.Join(dir, "..", "shared", "fixtures", "demikernel")
			if _, err := os.Stat(found); err == nil {
				return found
			}
		}
	}
	t.Skip("no fixtures of upstream's rings: decoding of its dumps was not run")
	return ""
}

// pops is the manifest's expect_pops: the tokens, or ends and hash of many.
type pops struct {
	Tokens []string
	Count  int      `json:"count"`
	First  []string `json:"first"`
	Last   []string `json:"last"`
}

func (p *pops) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, &p.Tokens)
	}
	type plain pops
	return json.Unmarshal(b, (*plain)(p))
}

// check compares tokens with what the manifest says about them.
func (p *pops) check(t *testing.T, got []string) {
	t.Helper()
	if p.Tokens != nil {
		if diff := cmp.Diff(p.Tokens, got); diff != "" {
			t.Errorf("pops (-want +got):\n%s", diff)
		}
		return
	}
	if len(got) != p.Count {
		t.Fatalf("%d pops, want %d", len(got), p.Count)
	}
	if diff := cmp.Diff(p.First, got[:len(p.First)]); diff != "" {
		t.Errorf("first pops (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(p.Last, got[len(got)-len(p.Last):]); diff != "" {
		t.Errorf("last pops (-want +got):\n%s", diff)
	}
}

type fixture struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Header struct {
		Pop  *uint64 `json:"pop_offset"`
		Push *uint64 `json:"push_offset"`
		Used *int    `json:"used"`
		Free *int    `json:"free"`
	} `json:"header"`
	Pops pops `json:"expect_pops"`
}

func fixtures(t *testing.T, each func(t *testing.T, f fixture, object []byte)) {
	dir := fixtureDir(t)
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Fixtures []fixture }
	if err := json.Unmarshal(b, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Fixtures) == 0 {
		t.Fatal("the manifest names no fixtures")
	}
	for _, f := range manifest.Fixtures {
		t.Run(strings.TrimSuffix(f.File, ".bin"), func(t *testing.T) {
			object, err := os.ReadFile(filepath.Join(dir, f.File))
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(object); hex.EncodeToString(sum[:]) != f.SHA256 {
				t.Fatal("the fixture is not the one that the manifest describes")
			}
			each(t, f, object)
		})
	}
}

// token writes a dump's end in the manifest's words.
func token(d *Dump) string {
	var e *CorruptError
	switch {
	case errors.As(d.Err, &e):
		return "error:" + string(e.Defect)
	case d.Pending:
		return "pending"
	default:
		return "empty"
	}
}

func TestDumpFixtures(t *testing.T) {
	fixtures(t, func(t *testing.T, f fixture, object []byte) {
		d := ReadDump(object)
		var got []string
		for _, r := range d.Records {
			if r.EOF {
				got = append(got, "eof")
			} else {
				got = append(got, fmt.Sprintf("data:%d:%016x", r.Len, r.Sum))
			}
		}
		got = append(got, token(d))
		f.Pops.check(t, got)
		if f.Header.Pop != nil && (d.PopOffset != *f.Header.Pop || d.PushOffset != *f.Header.Push) {
			t.Errorf("offsets %d, %d; want %d, %d", d.PopOffset, d.PushOffset, *f.Header.Pop, *f.Header.Push)
		}
		if d.Placed != (f.Header.Used != nil) {
			t.Fatalf("Placed = %v", d.Placed)
		}
		if d.Placed && (d.Used != *f.Header.Used || d.Free != *f.Header.Free) {
			t.Errorf("used %d, free %d; want %d, %d", d.Used, d.Free, *f.Header.Used, *f.Header.Free)
		}
	})
}

// A Consumer pops what the dump shows, up to the end of the stream, and fails
// where it shows a defect; a Producer refuses a ring it can not go on with.
func TestPopFixtures(t *testing.T) {
	fixtures(t, func(t *testing.T, f fixture, object []byte) {
		d := ReadDump(object)
		view := mapping.NewHeap(len(object))
		copy(view.Bytes(), object)
		consumer, err := NewConsumer(view)
		if !d.Placed {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("consumer of a ring with %v: %v", d.Err, err)
			}
			if _, err := NewProducer(view); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("producer of a ring with %v: %v", d.Err, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, MaxMessage)
		for i, r := range d.Records {
			n, err := consumer.TryPop(buf)
			if r.EOF {
				wantEOF(t, consumer, err)
				return
			}
			if err != nil || n != r.Len || fnv1a(buf[:n]) != r.Sum {
				t.Fatalf("pop %d: %d bytes, sum %016x, %v; want %d, %016x", i, n, fnv1a(buf[:n]), err, r.Len, r.Sum)
			}
		}
		switch _, err := consumer.TryPop(buf); {
		case d.Err != nil:
			if err == nil || err.Error() != d.Err.Error() {
				t.Errorf("pop: %v, want %v", err, d.Err)
			}
			if _, again := consumer.TryPop(buf); again != err {
				t.Errorf("second pop of a corrupt ring: %v", again)
			}
		case err != ErrEmpty:
			t.Errorf("pop: %v, want %v", err, ErrEmpty)
		}
	})
}
