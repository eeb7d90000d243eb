package crash

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"loomstore/internal/vfs/memfs"
)

// veresHistory writes the last page of every growth, as vere does.
var veresHistory = []change{{3, []int{0, 1, 2}}, {2, []int{0, 1}}, {4, []int{0, 2, 3}}}

// The positive control: the explorer must find in vere's protocol the windows
// that are known of it (spec/crash.md section 2), every time. If it does not,
// its silence about ours means nothing.
func TestExplorerFindsVeresWindows(t *testing.T) {
	p := vere{size: 1024}
	found := map[string]int{}
	example := map[string]string{}
	var mu sync.Mutex
	// What each save's control.bin holds, to tell a stale patch.
	m, l := prepared(t, p, veresHistory[0])
	x := &explorer{proto: p, budgets: []budget{{4096, 400}, {64, 32}}, seed: 1, again: goesOn(p)}
	x.witness = func(v violation, before *memfs.FS, l *ledger, journal bool) {
		window := veresWindow(v, before, l, journal)
		mu.Lock()
		defer mu.Unlock()
		if found[window]++; example[window] == "" {
			example[window] = v.trail
		}
	}
	if err := x.explore("vere", m, l, takes(p, veresHistory[1:]...), 2); err != nil {
		t.Fatal(err)
	}
	found["W9"] = veresTransient(t, p)
	for _, w := range slices.Sorted(maps.Keys(found)) {
		t.Logf("%s: %d states, for example %s", w, found[w], example[w])
	}
	for _, w := range []string{"W1", "W3", "W5", "W6", "W8", "W9"} {
		if found[w] == 0 {
			t.Errorf("%s was not found in vere's protocol", w)
		}
	}
}

// veresWindow names the window that a violation came through.
func veresWindow(v violation, before *memfs.FS, l *ledger, journal bool) string {
	crashes := strings.Count(v.trail, "restart")
	switch {
	case v.what == saveFails && strings.Contains(v.err.Error(), "file exists"):
		return "W8" // a left over memory.bin
	case crashes == 0 && stale(before, l):
		return "W3"
	case crashes == 0 && !journal:
		return "W1"
	case crashes == 0:
		return "single cut on a journalled file system"
	case strings.Contains(v.trail, "fails, restart"):
		return "W6"
	case strings.Contains(v.trail, "kill, restart") && journal:
		return "W5"
	default:
		return "other"
	}
}

// stale reports whether the patch that a crash left is not the one of the
// checkpoint begun last.
func stale(m *memfs.FS, l *ledger) bool {
	p, ok := vere{size: 1024}.model(m).Pending()
	if !ok || len(p.Pages) == 0 {
		return false
	}
	want := make([]byte, 1024)
	newest, _ := l.at(l.begun)
	if page := p.Pages[0]; page < len(newest) {
		fill(want, newest[page], page)
	}
	return string(want) != string(p.Data[0])
}

// veresTransient kills a save while it applies, lets one reading operation of
// the recovery fail, and counts how often the next recovery finds a torn
// image.
func veresTransient(t *testing.T, p vere) (bad int) {
	m, l := prepared(t, p, veresHistory[0])
	x := &explorer{proto: p}
	err := x.run(m, l, takes(p, veresHistory[2]), &trail{}, func(m *memfs.FS, l *ledger, tr *trail, c crashPoint) {
		if c.full || c.sync != "" || !strings.Contains(tr.text, "write image.bin") {
			return
		}
		for _, f := range transient(p, m, l, false) {
			if f.what == torn {
				bad++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return bad
}
