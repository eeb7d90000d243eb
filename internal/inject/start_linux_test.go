package inject

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/image"
	"loomstore/patch"
)

// prepare is the line that every store of loomctl run begins with. Each step
// returns its number and changes objects here and there; the third makes the
// heap grow.
const prepare = `globalThis.n = 0; globalThis.kept = Array.from({length: 300}, (_, i) => ({i, text: "entry " + i})); ` +
	`globalThis.step = () => { n++; for (let i = n; i < 300; i += 37) kept[i] = {i, n, text: ("step " + n + " ").repeat(20)}; ` +
	`if (n === 3) kept.push(new Uint8Array(600000).fill(7)); return n; }; 0`

// command makes a loomctl that is not traced.
func (r *rig) command(stdin string, args ...string) *exec.Cmd {
	c := exec.Command(r.loomctl, args...)
	c.Env = append(os.Environ(), r.env...)
	c.Stdin = strings.NewReader(stdin)
	return c
}

// makeStore makes a store with loomctl run, closed in order.
func makeStore(t testing.TB, dir string, env []string) {
	t.Helper()
	r := rig{env: env, loomctl: tools.loomctl}
	if out, err := r.command(prepare+"\n", "run", dir).CombinedOutput(); err != nil || string(out) != "0\n" {
		t.Fatalf("%v\n%s", err, out)
	}
}

// killedAt copies a store and lets a run that takes one step die before the
// first system call that matches.
func killedAt(t testing.TB, env []string, from, to, file, inject string) {
	t.Helper()
	copyStore(t, from, to)
	options := []string{"--seccomp-bpf", "-P", filepath.Join(to, file), "-e", "inject=" + inject}
	o, err := traced(t.TempDir(), options, env, "step()\n", tools.loomctl, "run", to)
	if err != nil || !o.killed {
		t.Fatalf("not killed at %s of %s: %v, exit %d\n%s", inject, file, err, o.code, o.err)
	}
}

// starts are the states of a store that acts begin with.
type starts struct {
	dirs map[string]string
}

// makeStarts builds them once: closed in order; killed behind the commit point
// and before the first byte of the apply; killed in the middle of the apply; and
// killed before the record, with its body in memory.bin and a slot of
// control.bin that a power cut has torn.
func makeStarts(t *testing.T, env []string) starts {
	t.Helper()
	top := t.TempDir()
	s := starts{dirs: map[string]string{}}
	for _, name := range []string{"clean", "committed", "half applied", "leftovers", "vere"} {
		s.dirs[name] = filepath.Join(top, strings.ReplaceAll(name, " ", "-"))
	}
	clean := s.dirs["clean"]
	makeStore(t, clean, env)
	killedAt(t, env, clean, s.dirs["committed"], "image.bin", "pwrite64:signal=SIGKILL:when=1")
	killedAt(t, env, clean, s.dirs["half applied"], "image.bin", "pwrite64:signal=SIGKILL:when=3")
	killedAt(t, env, clean, s.dirs["leftovers"], "control.bin", "pwrite64:signal=SIGKILL:when=1")
	tear(t, filepath.Join(s.dirs["leftovers"], "control.bin"))
	vereDirectory(t, s.dirs["vere"])
	for name, action := range map[string]image.Action{"clean": image.ActionNone, "committed": image.ActionApplied,
		"half applied": image.ActionApplied, "leftovers": image.ActionNone, "vere": image.ActionImported} {
		plan, err := image.Examine(t.Context(), s.dirs[name], nil)
		if err != nil || plan.Action != action {
			t.Fatalf("%s: %+v, %v", name, plan, err)
		}
	}
	return s
}

// tear makes the slot of the next record what a power cut in the middle of its
// writing may leave: bytes, and no valid copy.
func tear(t *testing.T, control string) {
	t.Helper()
	f, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := patch.ReadControl(f, patch.ControlSize, patch.Standard)
	if err != nil {
		t.Fatal(err)
	}
	for c := range 2 {
		if _, err := f.WriteAt([]byte(strings.Repeat("torn", 128)), patch.CopyOffset(records.Best().Epoch+1, c)); err != nil {
			t.Fatal(err)
		}
	}
}

// lines is what a run from a start state is given.
const lines = 3

// actsFrom are the commands on the start states, each with its oracle.
func actsFrom(t *testing.T, r *rig, s starts) []*act {
	t.Helper()
	var all []*act
	for _, start := range []string{"clean", "committed", "half applied", "leftovers"} {
		refs := references(t, r, s.dirs[start])
		first := 1
		if start == "committed" || start == "half applied" {
			first = 2
		}
		all = append(all,
			&act{name: start + ", run", start: s.dirs[start], stdin: strings.Repeat("step()\n", lines),
				args: func(dir string) []string { return []string{"run", dir} }, check: checkRun(refs, first)},
			&act{name: start + ", recover", start: s.dirs[start],
				args: func(dir string) []string { return []string{"recover", dir} }, check: checkSame(refs[0])},
			&act{name: start + ", backup", start: s.dirs[start], copies: true,
				args: func(dir string) []string { return []string{"backup", dir, dir + "-copy"} }, check: checkCopy(refs[0])})
	}
	plain := references(t, r, s.dirs["clean"])
	all = append(all, &act{name: "clean, run by mprotect", start: s.dirs["clean"], stdin: strings.Repeat("step()\n", lines), memory: true,
		args: func(dir string) []string { return []string{"run", "--tracker", "mprotect", dir} }, check: checkRun(plain, 1)})
	all = append(all, &act{name: "clean, run, swallowed", start: s.dirs["clean"], stdin: strings.Repeat("step()\n", lines), lies: true,
		args: func(dir string) []string { return []string{"run", dir} }, check: checkLied(plain)})
	twin := filepath.Join(t.TempDir(), "store")
	copyStore(t, s.dirs["vere"], twin)
	imported, err := reopen(twin)
	if err != nil {
		t.Fatal(err)
	}
	return append(all,
		&act{name: "vere's, recover", start: s.dirs["vere"], imports: true,
			args: func(dir string) []string { return []string{"recover", dir} }, check: checkSame(imported)},
		&act{name: "nothing, run", stdin: "globalThis.n = 1\n",
			args: func(dir string) []string { return []string{"run", dir} }, check: checkCreation(r)})
}

// references are the states behind 0, 1, ... lines of a run from the start
// state. That a run with one line more goes through the same states is checked
// by every run without an injection.
func references(t *testing.T, r *rig, start string) []state {
	t.Helper()
	var refs []state
	for n := range lines + 1 {
		dir := filepath.Join(t.TempDir(), "store")
		copyStore(t, start, dir)
		if out, err := r.command(strings.Repeat("step()\n", n), "run", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		found, err := reopen(dir)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, found)
	}
	if len(refs[lines].bytes) <= len(refs[0].bytes) {
		t.Fatal(fmt.Errorf("%d lines do not make the image grow", lines))
	}
	return refs
}
