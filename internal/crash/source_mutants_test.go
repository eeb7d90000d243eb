package crash

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sourceMutants are changes that the file system's seam can not express: checks
// and steps left out that nothing else stands in for. Each replaces one piece of one file of the engine.
var sourceMutants = []struct{ name, file, old, new string }{
	{"table not proven", "patch/decide.go", "fits, err := prove(e.TableFits(best))", "fits, err := prove(nil)"},
	{"patched image not proven", "patch/decide.go", "imageErr := e.PatchedImageFits(best)", "imageErr := e.PatchedImageFits(best)\n\timageErr = nil"},
	{"lost header: image not proven", "patch/decide.go", "proof := e.ImageFits(best.NewPages, best.NewDigest)", "_ = e.ImageFits(best.NewPages, best.NewDigest)\n\tvar proof error"},
	{"record's hash not checked", "patch/record.go", "binary.LittleEndian.Uint64(b[blockHash:]) != checksum.Sum64(b[:blockHash])", "checksum.Sum64(b[:blockHash]) == 0"},
	{"pages of the patch not checked", "patch/body.go", "got != l.Hash", "got == 0 && l.Hash == 1"},
	{"length not set again", "image/apply.go", "length == want && !redo", "length == want"},
	{"header not secured", "image/stage.go", "if !s.found {", "if true {"},
	{"found directory's name not synced", "image/create.go", "err := fsys.SyncDir(filepath.Dir(dir))", "var err error"},
}

// The checks of the engine taken out one at a time: the tests of this package
// must fail. In the long run only, because each is a build of its own. A check
// behind which another one stands (the UUID, the hash of the lines: the digest
// finds both) is not listed: without it nothing goes wrong.
func TestSourceMutants(t *testing.T) {
	if os.Getenv(statesVariable) == "" || os.Getenv(overlayVariable) != "" {
		t.Skip("the engine's checks are taken out in the long run only: make crash")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range sourceMutants {
		t.Run(m.name, func(t *testing.T) {
			name := filepath.Join(root, filepath.FromSlash(m.file))
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(source), m.old) == 0 {
				t.Fatalf("%s does not hold %q any more", m.file, m.old)
			}
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(map[string]map[string]string{"Replace": {name: changed}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, b, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "test", "-vet=off", "-overlay", overlay, "-failfast", "-count=1",
				"-run", "FoundBefore|RecoveryTable|Damage", ".")
			cmd.Env = append(os.Environ(), overlayVariable+"=1", statesVariable+"=1", "LOOM_CRASH_FLIPS=1000", seedVariable+"=1")
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("survived")
			case !strings.Contains(string(out), "--- FAIL"):
				t.Fatalf("did not run: %v\n%s", err, out)
			default:
				t.Log(firstFailure(string(out)))
			}
		})
	}
}

// overlayVariable tells the tests that they run inside TestSourceMutants.
const overlayVariable = "LOOM_CRASH_MUTANT"

func firstFailure(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "--- FAIL") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
