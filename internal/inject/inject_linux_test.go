package inject

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fullVariable asks for every injection, and names the report to write.
const fullVariable = "LOOM_INJECT"

func newRig(t *testing.T) *rig {
	t.Helper()
	requireTools(t)
	return &rig{env: guest(t), scratch: t.TempDir(), loomctl: tools.loomctl}
}

// cells are every act with every fault.
func cells(all []*act) (list []cell) {
	for _, a := range all {
		if a.lies {
			list = append(list, cell{act: a, call: "pwrite64", fault: "retval=100"}, cell{act: a, call: "pwrite64", fault: "retval=4096"})
			continue
		}
		if a.memory {
			list = append(list, cell{act: a, call: "mprotect", fault: "error=ENOMEM"})
			continue
		}
		for _, f := range faults {
			for _, x := range f.faults {
				list = append(list, cell{act: a, call: f.call, fault: x})
			}
		}
		for _, call := range deadly {
			list = append(list, cell{act: a, call: call, fault: kill})
		}
	}
	return list
}

// records are the cells that leave a record in doubt.
func records(all []*act) (list []cell) {
	for _, a := range all {
		if strings.HasSuffix(a.name, ", run") && a.start != "" {
			list = append(list, cell{a, "pwrite64", "error=EIO", "control.bin"}, cell{a, "fdatasync", "error=EIO", "control.bin"})
		}
	}
	return list
}

// Every durable-path system call of every command, from every start state,
// fails with every error it may return, or is the one before which the process
// is killed; and errors are followed by deaths. A sample in every run; all of
// them with LOOM_INJECT, which names the report.
func TestEveryErrorOfEveryCall(t *testing.T) {
	r := newRig(t)
	all := actsFrom(t, r, makeStarts(t, r.env))
	y, began := new(tally), time.Now()
	random := rand.New(rand.NewPCG(seed(t), 0))
	report := os.Getenv(fullVariable)
	if report == "" {
		parallel(records(all), func(c cell) { r.shoot(t, y, shot{c, 1, nil}) })
		sample(t, r, y, random, cells(all), 150)
	} else {
		parallel(slices.Concat(records(all), cells(all)), func(c cell) {
			if err := r.sweep(y, c); err != nil {
				t.Error(err)
			}
		})
		parallel(pairs(random, all, 500), func(s shot) { r.shoot(t, y, s) })
	}
	y.log(t)
	if y.count("in doubt, old state") == 0 || y.count("in doubt, new state") == 0 {
		t.Error("a record in doubt must come out both ways (R4)")
	}
	if report == "" || t.Failed() {
		return
	}
	if y.total < 2000 {
		t.Errorf("%d injections are too few", y.total)
	}
	if err := y.report(report, fmt.Sprintf("%d injections in %v, no violation.", y.total, time.Since(began).Round(time.Second))); err != nil {
		t.Error(err)
	}
}

// seed is LOOM_INJECT_SEED, or new.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(time.Now().UnixNano())
	if text := os.Getenv("LOOM_INJECT_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("LOOM_INJECT_SEED: %v", err)
		}
	}
	t.Logf("seed %d", s)
	return s
}

// shot is one run.
type shot struct {
	cell
	n     int
	death []string // of strace's inject=, behind the error
}

func (r *rig) shoot(t *testing.T, y *tally, s shot) {
	t.Helper()
	if _, err := r.once(y, s.cell, s.n, s.death...); err != nil {
		t.Error(err)
	}
}

// sample injects at least n times, into cells and at indices of chance.
func sample(t *testing.T, r *rig, y *tally, random *rand.Rand, all []cell, n int) {
	t.Helper()
	var shots []shot
	for range 4 * n {
		shots = append(shots, shot{all[random.IntN(len(all))], 1 + random.IntN(4), nil})
	}
	shots = append(pairs(random, actsOf(all), 10), shots...)
	parallel(shots, func(s shot) {
		y.mu.Lock()
		enough := y.total >= n
		y.mu.Unlock()
		if !enough {
			r.shoot(t, y, s)
		}
	})
}

func actsOf(all []cell) (list []*act) {
	for _, c := range all {
		if !slices.Contains(list, c.act) {
			list = append(list, c.act)
		}
	}
	return list
}

// pairs are errors of a commands's write path, and a death at another call.
func pairs(random *rand.Rand, all []*act, n int) (shots []shot) {
	errors := []string{"pwrite64", "fdatasync", "fallocate", "ftruncate"}
	for len(shots) < n {
		a := all[random.IntN(len(all))]
		call := errors[random.IntN(len(errors))]
		dies := deadly[random.IntN(len(deadly))]
		if a.lies || a.memory || a.copies || dies == call {
			continue
		}
		death := fmt.Sprintf("%s:%s:when=%d", dies, kill, 1+random.IntN(6))
		shots = append(shots, shot{cell{act: a, call: call, fault: "error=EIO"}, 1 + random.IntN(4), []string{death}})
	}
	return shots
}
