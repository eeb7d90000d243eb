package crash

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/internal/vfs/oplog"
)

// sourceMutants are changes that the file system's seam can not express: checks
// and steps taken out of the engine. Each replaces one piece of one file.
var sourceMutants = []struct{ name, file, old, new string }{
	// The recovery table.
	{"record and header of two stores", "patch/decide.go", "best.Store != h.Store", "false"},
	{"clean header does not fit its record", "patch/decide.go", "h.Pages != best.NewPages || h.Digest != best.NewDigest", "false"},
	{"header before the record does not fit it", "patch/decide.go", "h.Pages != best.OldPages || h.Digest != best.OldDigest", "false"},
	{"header of any epoch", "patch/decide.go", "case h.Epoch+1 == best.Epoch:", "case h.Epoch != best.Epoch:"},
	{"newer record lost", "patch/decide.go", "case h.Epoch == best.Epoch+1:", "case false:"},
	{"newer record lost, older one in its slot", "patch/decide.go", "e.Control.Slots[h.Epoch&1].Newest() != nil", "false"},
	{"damaged slot of a closed store", "patch/decide.go", "h.Clean && e.Control.Slots[1-best.Epoch&1].readable()", "h.Clean"},
	{"damaged slot: image not proven", "patch/decide.go", "err = e.ImageFits(h.Pages, h.Digest)", "_ = e.ImageFits"},
	{"lengths of a closed store", "patch/decide.go", "prove(e.LengthsExact(h.Pages))", "prove(nil)"},
	{"length under a pending patch", "patch/decide.go", "err := e.LengthBetween(best); err != nil", "err := error(nil); err != nil"},
	{"table not proven", "patch/decide.go", "fits, err := prove(e.TableFits(best))", "fits, err := prove(nil)"},
	{"patched image not proven", "patch/decide.go", "imageErr := e.PatchedImageFits(best)", "imageErr := e.PatchedImageFits(best)\n\timageErr = nil"},
	{"lost header: image not proven", "patch/decide.go", "proof := e.ImageFits(best.NewPages, best.NewDigest)", "_ = e.ImageFits(best.NewPages, best.NewDigest)\n\tvar proof error"},
	{"lost record: image not proven", "patch/decide.go", "proof := e.ImageFits(h.Pages, h.Digest)", "var proof error"},
	{"an error of reading taken for a disproof", "patch/decide.go", "return false, nil\n\tdefault:\n\t\treturn false, err", "return false, nil\n\tdefault:\n\t\treturn false, nil"},
	// What a record, a header, a line may hold.
	{"record's hash", "patch/record.go", "binary.LittleEndian.Uint64(b[blockHash:]) != checksum.Sum64(b[:blockHash])", "checksum.Sum64(b[:blockHash]) == 0"},
	{"record's magic", "patch/record.go", "string(b[:len(magic)]) != magic ||", "len(magic) == 0 ||"},
	{"record's reserved bytes", "patch/record.go", "|| !allZero(b[end:blockHash])", ""},
	{"format version", "patch/record.go", "v != formatVersion", "false"},
	{"page size", "patch/record.go", "p != uint32(g.PageSize)", "false"},
	{"record's base", "patch/record.go", "r.Epoch != 0 && r.Base != r.Epoch-1", "false"},
	{"record's page counts", "patch/record.go", "r.OldPages < 0 || r.OldPages > maxPages || r.NewPages < 0 || r.NewPages > maxPages", "false"},
	{"more lines than pages", "patch/record.go", "r.Lines < 0 || r.Lines > r.NewPages", "false"},
	{"record's watermark", "patch/record.go", "r.Low < 0 || (r.Low+int64(g.PageSize)-1)/int64(g.PageSize) != int64(r.NewPages)", "false"},
	{"body's offset", "patch/record.go", "r.BodyOffset%BlockSize != 0", "false"},
	{"record in the wrong slot", "patch/control.go", "rec.Epoch&1 != uint64(i/2)", "false"},
	{"older of two copies", "patch/control.go", "r.Rewrite > best.Rewrite", "r.Rewrite < best.Rewrite"},
	{"valid copy rewritten first", "patch/control.go", "if aValid && (!bValid || b > a) {", "if !(aValid && (!bValid || b > a)) {"},
	{"length of control.bin", "patch/control.go", "if size != ControlSize {", "if size < ControlSize {"},
	{"hash of the lines", "patch/lines.go", "got != rec.LinesHash", "false"},
	{"lines beyond the image", "patch/lines.go", "page >= uint64(rec.NewPages)", "page >= 1<<40"},
	{"order of the lines", "patch/lines.go", "int(page) <= prev", "false"},
	{"body cut off", "patch/body.go", "rec.Lines > 0 && length > size-rec.BodyOffset", "false"},
	{"pages of the patch", "patch/body.go", "got != l.Hash", "got == 0 && l.Hash == 1"},
	{"header in the wrong slot", "image/header.go", "h.Epoch&1 == uint64(i)", "true"},
	{"older of two headers", "image/header.go", "h.Epoch > hs.newest.Epoch", "h.Epoch < hs.newest.Epoch"},
	{"header's watermark", "image/header.go", "low > 1<<62 || (low+uint64(g.PageSize)-1)/uint64(g.PageSize) != pages", "false"},
	{"header's flags", "image/header.go", "|| flags&^flagClean != 0", ""},
	{"page counts beyond the arena", "image/evidence.go", "return r.o.fits(pages)", "return nil"},
	// Steps of recovery, commit and apply.
	{"names not synced by recovery", "image/recover.go", "if r.memory == nil || r.image == nil || x.header == nil {", "if false {"},
	{"one copy of the record rewritten", "image/recover.go", "if _, err := s.control.WriteAt(rec.Marshal(", "if w.Copy == 1 {\n\t\t\tcontinue\n\t\t}\n\t\tif _, err := s.control.WriteAt(rec.Marshal("},
	{"length not set again", "image/apply.go", "length == want && !always", "length == want"},
	{"apply after an error counts as the first", "image/apply.go", "p.redo = true", "p.redo = p.redo || err == nil"},
	{"header not secured", "image/stage.go", "if !s.found {", "if true {"},
	{"torn records stay", "image/stage.go", "if len(s.torn) == 0 {", "if true {"},
	{"stage after doubt", "image/stage.go", "if s.doubt != nil {", "if false {"},
	{"commit after doubt", "image/commit.go", "if s.doubt != nil {", "if false {"},
	{"doubt taken for an error", "image/commit.go", "return s.inDoubt(p.rec, err)", "return err"},
	{"holes not reserved", "image/stage.go", "if !s.sparse {", "if true {"},
	{"growth not reserved", "image/stage.go", "i, _ = slices.BinarySearch(pages, rec.OldPages)", "i, _ = slices.BinarySearch(pages, rec.NewPages)"},
	{"zero pages of a growth not in the digest", "image/commit.go", "for ; next < rec.NewPages; next++ {", "for next = rec.NewPages; next < rec.NewPages; next++ {"},
	{"pages cut off stay in the digest", "image/commit.go", "for p := rec.NewPages; p < rec.OldPages; p++ {", "for p := rec.OldPages; p < rec.OldPages; p++ {"},
	{"applied while a backup reads", "image/apply.go", "s.lock.Lock(ctx, lockApply, true)", "ctx.Err()"},
	{"found directory's name not synced", "image/create.go", "err := fsys.SyncDir(filepath.Dir(dir))", "var err error"},
}

// The checks and steps of the engine taken out one at a time: the tests of the
// packages that hold them, or the explorer's, must fail. In the long run only,
// because each is a build of its own; else it is seen to that each is there.
func TestSourceMutants(t *testing.T) {
	if os.Getenv(overlayVariable) != "" {
		t.Skip("one was taken out")
	}
	if os.Getenv(statesVariable) == "" && !oplog.Update() {
		for _, m := range sourceMutants {
			sourceWith(t, m.file, m.old, m.new)
		}
		t.Skip("the engine's checks are taken out in the long run only: make crash")
	}
	var rows strings.Builder
	dead := 0
	for _, m := range sourceMutants {
		t.Run(m.name, func(t *testing.T) {
			by := killedBy(t, m.file, m.old, m.new)
			if by == "" {
				t.Fatal("survived")
			}
			t.Logf("killed by %s", by)
			dead++
			fmt.Fprintf(&rows, "| %s | %s | %s |\n", m.name, m.file, by)
		})
	}
	// Not of those only that -run has chosen.
	if oplog.Update() && dead == len(sourceMutants) {
		writeTable(t, "../../docs/crash-mutants-source.md", "# Checks and steps taken out of the engine\n\n"+
			"Written by `go test ./internal/crash -run TestSourceMutants -update`. Each row is one check or step\n"+
			"that was taken out of the source, and the first test that then failed.\n\n"+
			fmt.Sprintf("%d listed, %d killed.\n\n", len(sourceMutants), dead)+
			"| taken out | of | killed by |\n|---|---|---|\n"+rows.String())
	}
}

// killedBy builds the engine with one change and returns the first test that
// fails, empty if none does.
func killedBy(t *testing.T, file, old, changed string) string {
	t.Helper()
	name, source := sourceWith(t, file, old, changed)
	dir := t.TempDir()
	replacement, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(replacement, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {name: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, run := range [][]string{
		{"../../patch"},
		{"-short", "../../image"},
		{"-run", "FoundBefore|RecoveryTable|Damage", "."},
	} {
		cmd := exec.Command("go", append([]string{"test", "-vet=off", "-overlay", overlay, "-failfast", "-count=1", "-timeout=5m"}, run...)...)
		cmd.Env = append(os.Environ(), overlayVariable+"=1", statesVariable+"=1", "LOOM_CRASH_FLIPS=1000", seedVariable+"=1")
		out, err := cmd.CombinedOutput()
		if err == nil {
			continue
		}
		if failure := firstFailure(string(out)); failure != "" {
			return failure
		}
		t.Fatalf("did not run: %v\n%s", err, out)
	}
	return ""
}

// sourceWith returns a file of the engine and what the change makes of it.
func sourceWith(t *testing.T, file, old, changed string) (name, source string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(root, filepath.FromSlash(file))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s does not hold %q any more", file, old)
	}
	return name, strings.ReplaceAll(string(b), old, changed)
}

// overlayVariable tells the tests that they run inside TestSourceMutants.
const overlayVariable = "LOOM_CRASH_MUTANT"

// firstFailure is the name of the first test that failed, and its package.
func firstFailure(out string) string {
	test := ""
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case test == "" && len(fields) > 2 && fields[0] == "---" && fields[1] == "FAIL:":
			test = fields[2]
		case test == "" && (strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:")):
			test = strings.TrimSpace(line)
		case test != "" && len(fields) > 1 && fields[0] == "FAIL":
			return strings.TrimPrefix(fields[1], "loomstore/") + " " + test
		}
	}
	return test
}
