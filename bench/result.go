package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// result is a suite that was measured.
type result struct {
	Title   string   `json:"title"`
	Note    string   `json:"note"`
	Unit    string   `json:"unit"`
	Floor   string   `json:"floor,omitempty"`
	Columns []string `json:"columns"`
	Rows    []row    `json:"rows"`
	Rounds  int      `json:"rounds"`
	Pages   int      `json:"pages"`
	Date    string   `json:"date"`
	Machine string   `json:"machine"`
	Command string   `json:"command"`
	Seconds float64  `json:"seconds"`
}

type row struct {
	Name   string          `json:"name"`
	Values map[string]stat `json:"values"` // by column
}

// stat is what one row has in one column. Ratio is that of the median to the
// floor's median, 0 where there is no floor.
type stat struct {
	Median  float64   `json:"median"`
	Ratio   float64   `json:"ratio,omitempty"`
	Samples []float64 `json:"samples"`
}

func (s suite) result(w *world, order []string, samples map[string]map[string][]float64, took time.Duration) *result {
	r := &result{
		Title: s.title, Note: s.note, Unit: s.unit, Floor: s.floor, Columns: s.columns, Rounds: w.rounds, Pages: w.pages,
		Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(w.dir), Command: command(), Seconds: math.Round(took.Seconds()),
	}
	for _, name := range order {
		values := map[string]stat{}
		for column, x := range samples[name] {
			v := stat{Median: median(x), Samples: x}
			if base := median(samples[s.floor][column]); base > 0 {
				v.Ratio = v.Median / base
			}
			values[column] = v
		}
		r.Rows = append(r.Rows, row{name, values})
	}
	return r
}

func (r *result) row(name string) (row, bool) {
	for _, x := range r.Rows {
		if x.Name == name {
			return x, true
		}
	}
	return row{}, false
}

// results are the suites measured so far, by name. A run replaces the suites
// it measures and keeps the others, so that a long one can be done in parts.
type results map[string]*result

func load(name string) (results, error) {
	all := results{}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

func (all results) save(name string) error {
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

// machine says in one line what the figures were measured on.
func machine(dir string) string {
	var uts syscall.Utsname
	_ = syscall.Uname(&uts)
	var release []byte
	for _, c := range uts.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	return fmt.Sprintf("Linux %s, %d CPUs (%s), %s, %s", release, runtime.NumCPU(), cpuModel(), fileSystem(dir), runtime.Version())
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// fileSystem is the type of the file system that dir is on.
func fileSystem(dir string) string {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "unknown file system"
	}
	known := map[int64]string{0xef53: "ext4", 0x58465342: "XFS", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlayfs"}
	if name, ok := known[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", st.Type)
}

// command is how this run was started, without the machine's paths.
func command() string {
	args := []string{"go run ."}
	for i := 1; i < len(os.Args); i++ {
		a := os.Args[i]
		if a == "-run" || a == "-rounds" {
			args = append(args, a, "'"+os.Args[i+1]+"'")
			i++
		} else if a == "-short" {
			args = append(args, a)
		}
	}
	return strings.Join(args, " ")
}
