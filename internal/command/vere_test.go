package command

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vereRow is one directory of patch/testdata/vere.golden.
type vereRow struct {
	name, action string
	exit         int
	pages, lines int
	aside        []string // files that are renamed
	image        string   // SHA-256 afterwards; "-": none
}

func vereRows(t *testing.T) []vereRow {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "patch", "testdata", "vere.golden"))
	if err != nil {
		t.Fatal(err)
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var rows []vereRow
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		r := vereRow{name: f[0], action: f[1], exit: number(f[2]), pages: number(f[3]), lines: number(f[4]), image: f[6]}
		if f[5] != "-" {
			r.aside = strings.Split(f[5], ",")
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		t.Fatal("vere.golden has no rows")
	}
	return rows
}

// TestRecoverVereFixtures runs recover on a copy of every directory that vere
// left, by the rows of patch/testdata/vere.golden.
func TestRecoverVereFixtures(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "fixtures", "vere")
	if _, err := os.Stat(filepath.Join(root, "manifest.json")); err != nil {
		t.Skipf("not run: recover on the directories that vere left (%v)", err)
	}
	for _, row := range vereRows(t) {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			pier := filepath.Join(t.TempDir(), "pier")
			files := map[string]string{}
			chk := filepath.Join(root, row.name, ".urb", "chk")
			// Git keeps no empty directory: a missing one is empty.
			if _, err := os.Stat(chk); !errors.Is(err, fs.ErrNotExist) {
				files = tree(t, chk)
				delete(files, ".")
			}
			lay(t, filepath.Join(pier, ".urb", "chk"), files)
			checkRecover(t, pier, row)
		})
	}
}

// TestRecoverVere is the same for small directories made here: one of each
// outcome.
func TestRecoverVere(t *testing.T) {
	old, patched := vereImage(1, 1, 1), vereImage(1, 2, 1, 2)
	control, memory := verePatch(4, 1, 3)
	torn := memory[:len(memory)-1]
	for _, c := range []struct {
		row   vereRow
		files map[string]string
	}{
		{vereRow{name: "clean", action: "imported", pages: 3, image: old}, map[string]string{"image.bin": old}},
		{vereRow{name: "pending", action: "imported", pages: 4, lines: 2, image: patched}, map[string]string{"image.bin": old, "control.bin": control, "memory.bin": memory}},
		{vereRow{name: "half applied", action: "imported", pages: 4, lines: 2, image: patched}, map[string]string{"image.bin": vereImage(1, 2, 1) + "x", "control.bin": control, "memory.bin": memory}},
		{vereRow{name: "never committed", action: "discarded", pages: 3, aside: []string{"control.bin", "memory.bin"}, image: old}, map[string]string{"image.bin": old, "control.bin": control[:20], "memory.bin": memory}},
		{vereRow{name: "torn memory", action: "discarded", pages: 3, aside: []string{"control.bin", "memory.bin"}, image: old}, map[string]string{"image.bin": old, "control.bin": control, "memory.bin": torn}},
		{vereRow{name: "leftover", action: "imported", pages: 3, aside: []string{"memory.bin"}, image: old}, map[string]string{"image.bin": old, "memory.bin": memory}},
		{vereRow{name: "torn memory, half applied", action: "refused", exit: ExitDamaged, image: vereImage(1, 2, 1)}, map[string]string{"image.bin": vereImage(1, 2, 1), "control.bin": control, "memory.bin": torn}},
		{vereRow{name: "torn image", action: "refused", exit: ExitDamaged, image: old + "x"}, map[string]string{"image.bin": old + "x"}},
		{vereRow{name: "version 3", action: "refused", exit: ExitMismatch, image: old}, map[string]string{"image.bin": old, "control.bin": "\x03" + control[1:], "memory.bin": memory}},
		{vereRow{name: "old layout", action: "refused", exit: ExitMismatch, image: "-"}, map[string]string{"north.bin": old, "south.bin": ""}},
		{vereRow{name: "no image", action: "refused", exit: ExitDamaged, image: "-"}, map[string]string{"control.bin": control, "memory.bin": memory}},
		{vereRow{name: "empty", action: "none", exit: ExitNotStore, image: "-"}, nil},
	} {
		t.Run(c.row.name, func(t *testing.T) {
			t.Parallel()
			if c.row.image != "-" {
				sum := sha256.Sum256([]byte(c.row.image))
				c.row.image = hex.EncodeToString(sum[:])
			}
			// As a pier, and as the directory itself.
			pier := filepath.Join(t.TempDir(), "pier")
			lay(t, filepath.Join(pier, ".urb", "chk"), c.files)
			checkRecover(t, pier, c.row)
			dir := filepath.Join(t.TempDir(), "dir")
			lay(t, dir, c.files)
			checkRecover(t, dir, c.row)
		})
	}
}

// recovered is the document of recover as docs/cli-json.md has it.
type recovered struct {
	Schema     int      `json:"schema"`
	Action     string   `json:"action"`
	Epoch      uint64   `json:"epoch"`
	Pages      int      `json:"pages"`
	PatchPages int      `json:"patch_pages"`
	Kept       []string `json:"kept"`
	Reason     string   `json:"reason"`
	Code       string   `json:"code"`
	Message    string   `json:"message"`
	File       *string  `json:"file"`
	Page       *int64   `json:"page"`
}

// checkRecover recovers dir and holds the outcome against row: a refusal
// changed nothing; an accepted directory is a whole store, and gives the same
// image back.
func checkRecover(t *testing.T, dir string, row vereRow) {
	t.Helper()
	before := tree(t, dir)
	var plan, got recovered
	ctl("recover", "--dry-run", "--json", dir).wants(t, row.exit).decode(t, &plan)
	unchanged(t, "recover --dry-run", dir, before)
	ctl("info", dir)
	ctl("verify", dir)
	ctl("patch", dir)
	unchanged(t, "info, verify and patch", dir, before)

	ctl("recover", "--json", dir).wants(t, row.exit).decode(t, &got)
	want := recovered{Schema: 1, Action: row.action, Pages: row.pages, PatchPages: row.lines, Kept: []string{},
		Reason: got.Reason, Message: got.Message, File: got.File, Page: got.Page}
	for _, name := range row.aside {
		want.Kept = append(want.Kept, name+".aside")
	}
	if row.exit != ExitOK {
		want.Code = codeName(row.exit)
	}
	if got.Reason == "" || (got.Message != "") != (row.exit != ExitOK) || (got.File != nil) != (row.action == "refused") {
		t.Errorf("recover: %+v", got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recover (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(plan, got); diff != "" {
		t.Errorf("the plan was another (-plan +done):\n%s", diff)
	}
	after := tree(t, dir)
	sub := ""
	if _, pier := after[".urb"]; pier {
		sub = filepath.Join(".urb", "chk")
	}
	if sum := imageSum(after, sub); sum != row.image {
		t.Errorf("image %s, want %s", sum, row.image)
	}
	if row.exit != ExitOK {
		unchanged(t, "a refusal", dir, before)
		return
	}
	for _, name := range row.aside {
		if after[filepath.Join(sub, name+".aside")] != before[filepath.Join(sub, name)] {
			t.Errorf("%s was not kept", name)
		}
	}
	checkStore(t, dir, got, row.image)
}

func checkStore(t *testing.T, dir string, got recovered, image string) {
	t.Helper()
	ctl("verify", dir).wants(t, ExitOK)
	ctl("verify", "--quick", dir).wants(t, ExitOK)
	ctl("info", "--check", dir).wants(t, ExitOK)
	ctl("patch", dir).wants(t, ExitOK)
	var again recovered
	ctl("recover", "--json", dir).wants(t, ExitOK).decode(t, &again)
	if again.Action != "none" || again.Pages != got.Pages {
		t.Errorf("a second recover: %+v", again)
	}
	// There and back: through a backup, restored, exported.
	base := t.TempDir()
	backup, restored, pier := filepath.Join(base, "backup"), filepath.Join(base, "restored"), filepath.Join(base, "pier")
	ctl("backup", dir, backup).wants(t, ExitOK)
	ctl("restore", backup, restored).wants(t, ExitOK)
	ctl("verify", restored).wants(t, ExitOK)
	ctl("export", "--vere", restored, pier).wants(t, ExitOK)
	exported := tree(t, pier)
	if sum := imageSum(exported, filepath.Join(".urb", "chk")); sum != image {
		t.Errorf("exported image %s, want %s", sum, image)
	}
	if names := slices.Sorted(maps.Keys(exported)); len(names) != 4 {
		t.Errorf("export wrote %q, want image.bin alone", names)
	}
}

func unchanged(t *testing.T, what, dir string, before map[string]string) {
	t.Helper()
	if after := tree(t, dir); !maps.Equal(before, after) {
		t.Fatalf("%s changed the directory: %q, was %q", what, slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
}

func imageSum(files map[string]string, sub string) string {
	image, ok := files[filepath.Join(sub, "image.bin")]
	if !ok {
		return "-"
	}
	sum := sha256.Sum256([]byte(image))
	return hex.EncodeToString(sum[:])
}
