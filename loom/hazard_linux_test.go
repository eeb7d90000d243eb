package loom_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/internal/vfs"
	"loomstore/loom"
)

// Open tells the logger what is known against the file system, and nothing of
// one that is not the system's. What there is to tell is the machine's affair.
func TestHazardIsLogged(t *testing.T) {
	top := t.TempDir()
	for name, fsys := range map[string]loom.FS{"ours": nil, "another": struct{ loom.FS }{vfs.OS}} {
		want := vfs.Hazard(top)
		if fsys != nil {
			want = ""
		}
		var log bytes.Buffer
		l, err := loom.Open(filepath.Join(top, name), &loom.Options{Size: 1 << 20, FS: fsys, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (want != "") || !strings.Contains(log.String(), want) {
			t.Errorf("%s: want %q in\n%s", name, want, &log)
		}
	}
	if vfs.Hazard(top) == "" {
		t.Log("nothing is known against the file system of " + top)
	}
}
