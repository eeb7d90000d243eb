package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
)

// killed explores a mutant until it is noticed, and says how; nil if it is not.
func killed(t *testing.T, m mutant) (*violation, int64) {
	t.Helper()
	var tried int64
	if m.opens != nil {
		return killedByReading(t, m)
	}
	for _, size := range []int{1024, 256} {
		p := newMutated(loom{size: size, create: true, keep: 1}, m)
		x := &explorer{proto: p, budgets: []budget{{64, 64}, {16, 8}}, seed: 1, again: goesOn(p), enoughBad: 1}
		var err error
		if !strings.HasPrefix(m.name, "errors:") {
			err = x.explore("history", memfs.New(), newLedger(), takes(p, history...), 1)
		}
		if err == nil && !x.failed() {
			sound, l := prepared(t, loom{size: size, create: true}, history[:2]...)
			x.budgets = []budget{{16, 16}}
			err = everyError(x, sound, l, history[2:5], 1)
		}
		tried += x.tried.Load()
		if x.failed() {
			return &x.reports[0], tried
		}
		if err != nil {
			return &violation{what: saveFails, err: err, trail: "without a crash"}, tried
		}
	}
	return nil, tried
}

// killedByReading lets the reading operations of recoveries fail.
func killedByReading(t *testing.T, m mutant) (v *violation, tried int64) {
	t.Helper()
	p := newMutated(loom{size: 1024, create: true}, m)
	fsys, l := prepared(t, p.loom, history[:2]...)
	err := (&explorer{proto: p}).run(fsys, l, takes(p, history[2]), &trail{text: "checkpoint"}, func(left *memfs.FS, l *ledger, tr *trail, c crashPoint) {
		if v != nil || c.full || c.sync != "" {
			return
		}
		tried++
		if found := transient(p, left, l, true); len(found) > 0 {
			v = &violation{what: found[0].what, err: found[0], trail: tr.String() + ", kill, restart with an error of EIO"}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return v, tried
}

// Every mutant is noticed, where the table in docs says. A sample in every run,
// chosen by the day's seed variable or the first; all of them in the long one.
func TestMutants(t *testing.T) {
	all := os.Getenv(statesVariable) != "" || oplog.Update()
	rng := rand.New(rand.NewPCG(uint64(number(t, seedVariable, 1)), 7))
	began := time.Now()
	var table strings.Builder
	dead := 0
	sample := rng.Perm(len(mutants))[:16]
	chosen := map[int]bool{}
	for _, i := range sample {
		chosen[i] = true
	}
	const name = "../../docs/crash-mutants.md"
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for i, m := range mutants {
		if !all && !chosen[i] {
			continue
		}
		tried++
		v, states := killed(t, m)
		if v == nil {
			t.Errorf("mutant survived %d states: %s", states, m.name)
			continue
		}
		dead++
		row := fmt.Sprintf("| %s | %v | %s |\n", m.name, v.what, firstCrash(v.trail))
		if !oplog.Update() && !strings.Contains(string(old), row) {
			t.Errorf("%s does not have the row below; run the test with -update\n%s", name, row)
		}
		table.WriteString(row)
	}
	t.Logf("%d of %d mutants killed, of %d listed; %.1f s", dead, tried, len(mutants), time.Since(began).Seconds())
	if oplog.Update() {
		writeTable(t, name, "# Mutants of the protocol\n\n"+
			"Written by `go test ./internal/crash -run TestMutants -update`. Each row is one change of what\n"+
			"reaches the disk, and the first crash state in which the explorer noticed it.\n\n"+
			fmt.Sprintf("%d listed, %d killed.\n\n", len(mutants), dead)+
			"| change | seen as | at |\n|---|---|---|\n"+table.String())
	}
}

// firstCrash shortens a trail for the table.
func firstCrash(trail string) string {
	trail = strings.TrimPrefix(trail, "history, ")
	if i := strings.Index(trail, " (posix: "); i >= 0 {
		trail = strings.ReplaceAll(trail, "cut (posix: ", "cut (")
	}
	if len(trail) > 160 {
		trail = trail[:160] + "..."
	}
	return strings.ReplaceAll(trail, "|", "/")
}

func writeTable(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
