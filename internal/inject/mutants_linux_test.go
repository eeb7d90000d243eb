package inject

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are faults put into the engine's source, each of which injection must
// notice. Each replaces one piece of one file.
var mutants = []struct{ name, file, old, new string }{
	{"a failed sync is taken for a good one", "internal/vfs/os_linux.go", `return f.control("fdatasync", unix.Fdatasync)`, `_ = f.control("fdatasync", unix.Fdatasync)` + "\n\treturn nil"},
	{"body not synced", "image/stage.go", "if err := s.memory.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	{"record not synced", "image/commit.go", "if err := s.control.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	{"any error means absent", "image/store.go", "if errors.Is(err, fs.ErrNotExist) {\n\t\treturn nil, nil", "if err != nil {\n\t\treturn nil, nil"},
	{"a failed apply is left at that", "loom/apply.go", "if a.err = l.ownUnapplied(); a.err == nil {", "if a.err = l.ownUnapplied(); false {"},
	{"printed before it is durable", "internal/command/run_session.go", "c, err := s.vm.Checkpoint(ctx)", "s.out.release()\n\tc, err := s.vm.Checkpoint(ctx)"},
	{"recovery does not write the record again", "image/recover.go", "if err := s.rewrite(x.control, rec); err != nil {", "if err := error(nil); err != nil {"},
}

// loomctl with a fault in it is found out. Each mutant is a build of its own, so
// they are tried in the full run only.
func TestInjectionFindsMutants(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(fullVariable) == "" {
		for _, m := range mutants {
			overlay(t, filepath.Join(root, filepath.FromSlash(m.file)), m.old, m.new)
		}
		t.Skip("mutants of the engine are built in the full run only: make crash-inject")
	}
	r := newRig(t)
	s := makeStarts(t, r.env)
	sound := actsFrom(t, r, s)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			mutant := &rig{env: r.env, scratch: t.TempDir(), loomctl: filepath.Join(t.TempDir(), "loomctl")}
			if out, err := build(mutant.loomctl, "-overlay", overlay(t, filepath.Join(root, filepath.FromSlash(m.file)), m.old, m.new)).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			all := cells(sound)
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for i, c := range all {
				if _, err := mutant.once(new(tally), c, 1+i%3); err != nil {
					t.Logf("run %d: %v", i+1, err)
					return
				}
			}
			t.Error("not noticed")
		})
	}
}

// overlay makes a build see a file with one piece of it replaced.
func overlay(t *testing.T, name, old, with string) string {
	t.Helper()
	source, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), old) != 1 {
		t.Fatalf("%s does not hold %q once", name, old)
	}
	dir := t.TempDir()
	changed, list := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]map[string]string{"Replace": {name: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{changed: []byte(strings.Replace(string(source), old, with, 1)), list: b} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
