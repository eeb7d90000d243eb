package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/internal/mapping"
	"loomstore/shmring"
)

func runMain(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(append([]string{"loomctl"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestRingDump(t *testing.T) {
	view := mapping.NewHeap(shmring.ObjectSize)
	p, err := shmring.NewProducer(view)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.TryPush([]byte("hello, ring")); err != nil {
		t.Fatal(err)
	}
	if err := p.CloseWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ring")
	dump := func(object []byte) (int, map[string]any, string) {
		if err := os.WriteFile(file, object, 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := runMain("ring", "dump", "--json", file)
		var doc map[string]any
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		return code, doc, errs
	}
	code, doc, errs := dump(view.Bytes())
	want := map[string]any{
		"schema": 1.0, "pop_offset": 0.0, "push_offset": 24.0, "used": 24.0, "free": 65494.0, "end": "empty",
		"records": []any{
			map[string]any{"kind": "data", "len": 11.0, "fnv1a64": "082116888ef71b21"},
			map[string]any{"kind": "eof", "len": 0.0, "fnv1a64": "cbf29ce484222325"},
		},
	}
	if diff := cmp.Diff(want, doc); diff != "" || code != ExitOK || errs != "" {
		t.Errorf("exit %d, stderr %q, document (-want +got):\n%s", code, errs, diff)
	}
	if code, out, _ := runMain("ring", "dump", file); code != ExitOK || !strings.Contains(out, "data    11  082116888ef71b21\n") {
		t.Errorf("exit %d, text %q", code, out)
	}

	object := bytes.Clone(view.Bytes())
	object[1] = 1 // pop_offset
	object[0] = 1
	code, doc, errs = dump(object)
	want = map[string]any{"schema": 1.0, "pop_offset": 257.0, "push_offset": 24.0, "records": []any{}, "end": "offset"}
	if diff := cmp.Diff(want, doc); diff != "" || code != ExitDamaged || !strings.Contains(errs, "pop_offset at byte 0") {
		t.Errorf("bad offset: exit %d, stderr %q, document (-want +got):\n%s", code, errs, diff)
	}
	for _, cut := range [][]byte{nil, object[:4096], append(object, 0)} {
		code, doc, _ = dump(cut)
		if diff := cmp.Diff(map[string]any{"schema": 1.0, "records": []any{}, "end": "size"}, doc); diff != "" || code != ExitDamaged {
			t.Errorf("%d bytes: exit %d, document (-want +got):\n%s", len(cut), code, diff)
		}
	}
	if code, _, _ := runMain("ring", "dump", filepath.Join(t.TempDir(), "none")); code != ExitFailure {
		t.Errorf("no file: exit %d", code)
	}
	if code, _, _ := runMain("ring", "dump"); code != ExitUsage {
		t.Errorf("no argument: exit %d", code)
	}
}

// An error that has a way out names it.
func TestRingHints(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		hint string
	}{
		{fmt.Errorf("open: %w", shmring.ErrInUse), ExitLocked, "create another one"},
		{fmt.Errorf("%w: %w", fs.ErrExist, shmring.ErrOwned), ExitLocked, ""},
		{fmt.Errorf("create: %w", fs.ErrExist), ExitLocked, "remove its objects"},
		{fmt.Errorf("open: %w", fs.ErrNotExist), ExitFailure, "--wait"},
		{fmt.Errorf("open: %w", shmring.ErrPeerDead), ExitFailure, "create the pair again"},
		{shmring.ErrName, ExitUsage, "1 to 241 bytes"},
		{&shmring.CorruptError{}, ExitDamaged, ""},
		{shmring.ErrPeerGone, ExitFailure, ""},
	} {
		code, hint := classify(ringError(tt.err))
		if code != tt.code || !strings.Contains(hint, tt.hint) || (hint == "") != (tt.hint == "") {
			t.Errorf("%v: exit %d, hint %q; want %d, %q", tt.err, code, hint, tt.code, tt.hint)
		}
	}
}
