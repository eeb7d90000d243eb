package shmread

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// roleVariable makes the test binary a second process of a test.
const roleVariable = "LOOM_SHMREAD_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// soak returns the long value under LOOM_SOAK=1.
func soak(short, long int) int {
	if os.Getenv("LOOM_SOAK") == "1" {
		return long
	}
	return short
}

// fixture returns the path of a shared fixture, which lie beside the module.
func fixture(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(filepath.Dir(dir), "shared", "fixtures", "clockbound", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("not run: no fixture %s", name)
	}
	return path
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func mustCreate(t testing.TB, path string) *Writer {
	t.Helper()
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func mustOpen(t testing.TB, path string, o *Options) *Reader {
	t.Helper()
	r, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func mustUpdate(t testing.TB, w *Writer, c ClockErrorBound) {
	t.Helper()
	if err := w.Update(&c); err != nil {
		t.Fatal(err)
	}
}

// record is the n-th record of a writer at work: every field follows from n,
// so a mixture of two records betrays itself.
func record(n int64) ClockErrorBound {
	return ClockErrorBound{
		AsOf:              Timespec{n + 1, 7 * n % second},
		VoidAfter:         Timespec{n + 1001, 11 * n % second},
		BoundNsec:         3*n + 1,
		DisruptionMarker:  uint64(n) ^ 0x5A5A5A5A5A5A5A5A,
		MaxDriftPPB:       uint32(n % second),
		Status:            Status(1 + n%3),
		DisruptionSupport: n%2 == 1,
	}
}

// numberOf returns n of a record, and whether all of it is of that n.
func numberOf(c *ClockErrorBound) (int64, bool) {
	n := c.AsOf.Sec - 1
	want := record(n)
	want.Version, want.Generation = c.Version, c.Generation
	return n, *c == want
}
