package oplog

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden operation logs instead of comparing with them")

// Update tells whether the tests run with -update.
func Update() bool { return *update }

// Golden compares a record's text with a golden file, for instance
// testdata/creation.log, and reports the first line that differs. With the flag
// -update it writes the file instead.
func Golden(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update to write it", err)
	}
	if got == string(want) {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := 0; ; i++ {
		g, w := line(gotLines, i), line(wantLines, i)
		if g != w {
			t.Errorf("%s:%d: operation is %q, want %q; all of it:\n%s", path, i+1, g, w, got)
			return
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
