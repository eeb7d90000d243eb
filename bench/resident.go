package main

import "fmt"

const (
	programAlone = "program alone"
	trimmed      = ", after Trim"
)

// residentSuite measures memory, each store in a process of its own.
func residentSuite() suite {
	return suite{
		name:  "resident",
		title: "Resident memory of a program with 256 MiB of state",
		note: "After reading all of its state from the store and saving a quarter of its pages. The program's own copy of its state is " +
			"in it: with loom and heap-file the store is that copy. File-backed memory is the system's cache, which other processes share " +
			"and which the system takes back when it is short; anonymous memory it can only swap. SQLite's cache was made large enough for all pages (see peer/sqlite.go).",
		unit: "MiB", floor: programAlone, columns: []string{"anonymous", "file-backed", "both"},
		open: func(w *world) (*bench, error) {
			b := new(bench)
			names := []string{programAlone}
			for _, k := range peers() {
				s, err := w.filled(k) // not in the child, whose memory is measured
				if err == nil {
					err = s.Close()
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", k.Name, err)
				}
				names = append(names, k.Name)
				if k.Name == "loom" {
					names = append(names, k.Name+trimmed)
				}
			}
			for _, name := range names {
				b.cells = append(b.cells, cell{row: name, run: func() (map[string]float64, error) {
					out, err := w.spawn("resident", name)
					if err != nil {
						return nil, err
					}
					var anon, file float64
					if _, err := fmt.Sscan(out, &anon, &file); err != nil {
						return nil, fmt.Errorf("child printed %q: %w", out, err)
					}
					return map[string]float64{"anonymous": anon / 1024, "file-backed": file / 1024, "both": (anon + file) / 1024}, nil
				}})
			}
			return b, nil
		},
	}
}
