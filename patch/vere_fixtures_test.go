package patch

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestVereFixtures decides about every directory that vere left in the
// fixtures, by the rows of testdata/vere.golden.
func TestVereFixtures(t *testing.T) {
	root := vereFixtures(t)
	var manifest struct {
		Fixtures []struct {
			Name     string
			Unsafe   *string
			Expected string `json:"expected_image_sha256"`
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &manifest); err != nil {
		t.Fatal(err)
	}
	rows := vereGolden(t)
	if len(manifest.Fixtures) != len(rows) {
		t.Errorf("%d fixtures, %d rows", len(manifest.Fixtures), len(rows))
	}
	for _, f := range manifest.Fixtures {
		t.Run(f.Name, func(t *testing.T) {
			want, ok := rows[f.Name]
			if !ok {
				t.Fatal("no row in testdata/vere.golden")
			}
			d := readVereDir(t, filepath.Join(root, f.Name, ".urb", "chk"))
			v := decideVere(t, d)
			got := vereRow{lines: "0", pages: strconv.FormatInt(v.Pages, 10), aside: "-", image: "-"}
			action, exit := vereOutcome(t, v)
			got.action, got.exit = action, strconv.Itoa(exit)
			if v.Patch != nil {
				got.lines = strconv.Itoa(v.Patch.Len())
			}
			if v.Aside != nil {
				got.aside = strings.Join(v.Aside, ",")
			}
			if d.image != nil {
				sum := sha256.Sum256(applyVere(t, d.image, v))
				got.image = hex.EncodeToString(sum[:])
			}
			if got != want {
				t.Errorf("\n got %+v\nwant %+v\nreason: %s", got, want, v.Reason)
			}
			// Where vere is right, this and vere agree on every byte.
			if f.Unsafe == nil && d.image != nil && got.image != f.Expected {
				t.Errorf("image %s, vere has %s", got.image, f.Expected)
			}
		})
	}
}

type vereRow struct{ action, exit, pages, lines, aside, image string }

func vereGolden(t *testing.T) map[string]vereRow {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vere.golden"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]vereRow{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 7 {
			t.Fatalf("row %q has %d columns, want 7", s.Text(), len(f))
		}
		rows[f[0]] = vereRow{f[1], f[2], f[3], f[4], f[5], f[6]}
	}
	return rows
}

// vereFixtures finds ../shared/fixtures/vere from the module's root.
func vereFixtures(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	root := filepath.Join(dir, "..", "shared", "fixtures", "vere")
	if _, err := os.Stat(filepath.Join(root, "manifest.json")); err != nil {
		t.Skipf("not run: the directories that vere left (%v)", err)
	}
	return root
}

// readVereDir reads a directory. Git does not keep empty ones, so a missing
// directory is empty.
func readVereDir(t *testing.T, dir string) vereDir {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return vereDir{image: read("image.bin"), control: read("control.bin"), memory: read("memory.bin"),
		north: read("north.bin") != nil, south: read("south.bin") != nil}
}
