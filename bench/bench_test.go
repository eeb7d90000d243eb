package main

import (
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain makes the test's program the children that suites ask for.
func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		exit(child(what, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// Every suite runs, small, and has a value in each row and column; the figures
// become tables in a document, and plots.
func TestSuites(t *testing.T) {
	w := newWorld(t.TempDir(), 64, 2, true, 1)
	all := results{}
	for _, s := range suites() {
		t.Run(s.name, func(t *testing.T) {
			if _, err := os.Stat(guestModule); s.name == "guest" && err != nil {
				t.Skip("no guest, the JavaScript program was not run: make guest")
			}
			r, err := w.measure(s)
			if err != nil {
				if s.name == "written" && strings.Contains(err.Error(), "no block device") {
					t.Skip(err)
				}
				t.Fatal(err)
			}
			if r.Floor != "" {
				if _, ok := r.row(r.Floor); !ok {
					t.Errorf("no row %q", r.Floor)
				}
			}
			for _, x := range r.Rows {
				for _, c := range r.Columns {
					if v, ok := x.Values[c]; !ok || len(v.Samples) != w.rounds {
						t.Errorf("%s, %s: %d samples, expected %d", x.Name, c, len(v.Samples), w.rounds)
					}
				}
			}
			all[s.name] = r
		})
	}
	file := filepath.Join(t.TempDir(), "results.json")
	if err := all.save(file); err != nil {
		t.Fatal(err)
	}
	all, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(doc, []byte("before\n<!-- bench:durable -->\nold\n<!-- /bench -->\nafter\n<!-- bench:unknown -->\nkept\n<!-- /bench -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := all.document(doc); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n<!-- bench:durable -->\n| D = | 1 |", "| bbolt |", "| heap-file |", "<!-- /bench -->\nafter\n", "kept"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("document without %q:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "old") {
		t.Error("the old table is still there")
	}
	plots := t.TempDir()
	if err := all.plot(plots); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"durable.png", "settled.png", "steady.png", "stopped.png"} {
		f, err := os.Open(filepath.Join(plots, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.Close()
	}
}

func TestRatios(t *testing.T) {
	s := suite{floor: "floor", columns: []string{"a"}}
	r := s.result(&world{}, []string{"x", "floor"}, map[string]map[string][]float64{"x": {"a": {9, 1, 3}}, "floor": {"a": {2, 2, 7}}}, 0)
	x, _ := r.row("x")
	if v := x.Values["a"]; v.Median != 3 || v.Ratio != 1.5 {
		t.Errorf("median %v, ratio %v, expected 3 and 1.5", v.Median, v.Ratio)
	}
	if got, want := r.table(), "|  | a |\n|---|---|\n| x | 1.50 (3.00) |\n| floor | 2.00 |\n"; got != want {
		t.Errorf("table\n%s\nexpected\n%s", got, want)
	}
}

// What pprof prints, split by phase.
func TestSplitTraces(t *testing.T) {
	out := `File: bench
Type: cpu
-----------+-------------------------------------------------------
      30ms   runtime.memmove
             loomstore/image.(*Store).Stage
-----------+-------------------------------------------------------
      20ms   syscall.Syscall6
             loomstore/internal/vfs.(*osFile).Sync
-----------+-------------------------------------------------------
      10ms   runtime.memmove
             loomstore/internal/checksum.Sum64
-----------+-------------------------------------------------------
      40ms   runtime.futex
-----------+-------------------------------------------------------
`
	got, err := splitTraces([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	for phase, ms := range map[string]float64{"copy": 30, "sync": 20, "hash": 10, "else": 40} {
		if got["CPU: "+phase] != ms {
			t.Errorf("%s: %v ms, expected %v", phase, got["CPU: "+phase], ms)
		}
	}
	for c := range got {
		if !slices.Contains(cpuColumns(), c) {
			t.Errorf("phase %q has no column", c)
		}
	}
}
