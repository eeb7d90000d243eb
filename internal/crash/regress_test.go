package crash

import (
	"strings"
	"testing"

	"loomstore/internal/vfs/memfs"
)

// The crashes that the explorer found in the engine, each by its shortest way:
// what every process but the last was doing when it was killed, and what the
// last was doing when the power was cut.
func TestCrashesFoundBefore(t *testing.T) {
	p := loom{size: 1024, create: true, keep: 1}
	for _, c := range []struct {
		name   string
		before []change // durable
		first  act
		ends   []string // the operation behind which each process ends; "fails" if that one fails
		cut    func(memfs.Choice) int
	}{
		{"the name of a directory that a killed process made", nil, goesOn(p),
			[]string{"open: mkdir store", "acknowledged 1"}, memfs.DropAll},
		{"garbage where slot 1 was in flight", nil, goesOn(p),
			[]string{"open: write control.bin"}, garbageIn("control.bin")},
		{"a live mark in the cache only", nil, goesOn(p),
			[]string{"open: write sums.bin 0+4096", "commit: sync control.bin"}, memfs.DropAll},
		{"a CLEAN header in the cache only", history[:2], takes(p, history[2]),
			[]string{"close: write sums.bin", "commit: sync control.bin"}, garbageIn("sums.bin")},
		{"a CLEAN header whose sync failed", history[:2], takes(p, history[2]),
			[]string{"close: sync sums.bin fails", "commit: sync control.bin"}, garbageIn("sums.bin")},
		{"the only header torn while it is secured", history[:1], takes(p),
			[]string{"open: create sums.bin", "stage: write sums.bin"}, garbageIn("sums.bin")},
		{"a shrink whose sync failed in recovery", history[:4], takes(p, history[4]),
			[]string{"commit: sync control.bin", "open: sync image.bin fails", "commit: write control.bin"}, oldLength("image.bin")},
		{"a shrink whose sync failed", history[:4], takes(p, history[4]),
			[]string{"apply: sync image.bin fails", "commit: write control.bin"}, oldLength("image.bin")},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, l := memfs.New(), newLedger()
			if c.before != nil {
				m, l = prepared(t, p, c.before...)
			}
			a := c.first
			for _, end := range c.ends {
				m, l = ended(t, p, m, l, a, end)
				a = goesOn(p)
			}
			m = m.CrashClone(memfs.Crash{Decide: c.cut})
			s, g, f := recovered(p, m, l)
			if f != nil {
				t.Fatal(f)
			}
			l.restarted(g)
			if f := live(p, s, m, l); f != nil {
				t.Fatal(f)
			}
		})
	}
}

// ended runs a until the first operation that begins with text is over, or has
// failed, and returns what the process leaves.
func ended(t *testing.T, p protocol, m *memfs.FS, l *ledger, a act, text string) (left *memfs.FS, then *ledger) {
	t.Helper()
	var all []string
	err := (&explorer{proto: p}).run(m, l, a, &trail{}, func(m *memfs.FS, l *ledger, tr *trail, c crashPoint) {
		all = *tr.log
		if left != nil || len(all) == 0 || !strings.HasPrefix(last(all), text) || strings.HasSuffix(text, "fails") != (c.sync != "") {
			return
		}
		left, then = m.Clone(), l.clone()
		if c.sync != "" {
			if err := left.FailSync(c.sync); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if left == nil {
		t.Fatalf("there is no operation %q in:\n%s", text, strings.Join(all, "\n"))
	}
	return left, then
}

// oldLength loses the length of one file and keeps the rest.
func oldLength(file string) func(memfs.Choice) int {
	return func(q memfs.Choice) int {
		if q.Kind == memfs.Length && strings.HasSuffix(q.Name, "/"+file) {
			return 0
		}
		return q.Versions - 1
	}
}

// garbageIn turns what is in flight in one file to garbage and keeps the rest.
func garbageIn(file string) func(memfs.Choice) int {
	return func(q memfs.Choice) int {
		if q.Kind == memfs.Sector && strings.HasSuffix(q.Name, "/"+file) {
			return memfs.Garbage
		}
		return q.Versions - 1
	}
}
