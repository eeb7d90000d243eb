package inject

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"loomstore/image"
	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/oplog"
	"loomstore/patch"
)

// acts cuts a translated trace at its marks.
func acts(lines []string) map[string]string {
	cut, from := map[string]string{}, 0
	for i, l := range lines {
		if act, ok := strings.CutPrefix(l, "mark "); ok {
			cut[act] = text(lines[from:i])
			from = i + 1
		}
	}
	cut[""] = text(lines[from:])
	return cut
}

func text(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// newBase makes a directory for stores, in one that nothing else uses.
func newBase(t *testing.T) string {
	t.Helper()
	base := filepath.Join(t.TempDir(), "top", "base")
	if err := os.MkdirAll(base, 0o700); err != nil {
		t.Fatal(err)
	}
	return base
}

// driven traces the embedding program.
func driven(t *testing.T, act, base, broken string) map[string]string {
	t.Helper()
	dir := filepath.Join(base, "store")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{driverVariable + "=" + act, "LOOM_INJECT_STORE=" + dir, "LOOM_INJECT_BROKEN=" + broken}
	o, err := traced(t.TempDir(), nil, env, "", self)
	if err != nil || o.code != 0 {
		t.Fatalf("%v, exit %d\n%s", err, o.code, o.err)
	}
	return acts(translate(o.calls, filepath.Dir(base), dir))
}

// The system calls of a program that embeds the engine are the operations of
// the golden logs, which a file system in memory recorded, one for one.
func TestSystemCallsAreTheGoldenOperations(t *testing.T) {
	requireTools(t)
	base := newBase(t)
	got := driven(t, "acts", base, "")
	leavePending(t, filepath.Join(base, "store"))
	got["recovery"] = driven(t, "recovery", base, "")["recovery"]
	for _, act := range []string{"creation", "checkpoint-first", "checkpoint", "checkpoint-grow", "checkpoint-shrink", "checkpoint-empty", "close", "open-clean", "recovery"} {
		t.Run(act, func(t *testing.T) { equalsGolden(t, act, got[act]) })
	}
}

func equalsGolden(t *testing.T, act, got string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("../../image/testdata", act+".log"))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the system calls are\n%s\nthe golden operations are\n%s", got, want)
	}
}

// A write that bypasses internal/vfs and a sync that is not done are seen.
func TestBypassIsSeen(t *testing.T) {
	requireTools(t)
	for _, c := range []struct{ broken, act, line string }{
		{"bypass", "checkpoint", "bypass openat("},
		{"sync", "checkpoint", "- sync memory.bin"},
	} {
		got := driven(t, "acts", newBase(t), c.broken)[c.act]
		golden, err := os.ReadFile(filepath.Join("../../image/testdata", c.act+".log"))
		if err != nil {
			t.Fatal(err)
		}
		missing, ok := strings.CutPrefix(c.line, "- ")
		seen := strings.Contains(got, c.line)
		if ok {
			seen = strings.Contains(string(golden), missing) && !strings.Contains(got, missing)
		}
		if !seen || got == string(golden) {
			t.Errorf("%s is not seen in\n%s", c.broken, got)
		}
	}
}

// leavePending commits checkpoint 6 of the golden test and does not apply it.
func leavePending(t *testing.T, dir string) {
	t.Helper()
	ctx := context.Background()
	s, _, err := image.Open(ctx, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 16384)
	staged, err := s.Stage(ctx, image.Change{Pages: []int{0, 3}, Low: 4 * 16384, Content: func(i int) []byte { return slices.Repeat([]byte{byte(6 + i)}, len(page)) }})
	if err == nil {
		err = s.Commit(staged)
	}
	if err == nil {
		err = s.Close(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// recorded returns the operations of what do does over the system's files.
func recorded(t *testing.T, root string, do func(o *image.Options) error) string {
	t.Helper()
	fsys := oplog.New(vfs.OS, oplog.Options{Root: root})
	if err := do(&image.Options{FS: fsys, Create: true, Workers: 1}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	record := strings.ReplaceAll(fsys.String(), "syncdir ../..\n", "syncdir ..\n")
	for line := range strings.Lines(partial.ReplaceAllString(record, "partial-PID")) {
		// Where the files have no clones the caller copies; the trace has no
		// error names for that, which differ by file system.
		if !strings.HasPrefix(line, "clone ") || !strings.Contains(line, "!") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return text(lines)
}

// The commands of loomctl do the operations that package image does, and
// nothing beside them.
func TestCommandsDoNothingElse(t *testing.T) {
	requireTools(t)
	ctx := context.Background()
	recovers := func(dir string) func(o *image.Options) error {
		return func(o *image.Options) error {
			if _, err := image.Examine(ctx, dir, o); err != nil {
				return err
			}
			s, _, err := image.Open(ctx, dir, o)
			if err != nil {
				return err
			}
			return s.Close(ctx)
		}
	}
	backup := func(dir string) func(o *image.Options) error {
		return func(o *image.Options) error {
			_, err := image.Backup(ctx, dir, dir+"-copy", o, nil)
			return err
		}
	}
	for _, c := range []struct {
		name   string
		make   func(t *testing.T, dir string)
		args   func(dir string) []string
		same   func(dir string) func(*image.Options) error
		golden string
	}{
		{"recovery", pendingStore, func(dir string) []string { return []string{"recover", dir} }, recovers, ""},
		{"backup", pendingStore, func(dir string) []string { return []string{"backup", dir, dir + "-copy"} }, backup, ""},
		{"import", vereDirectory, func(dir string) []string { return []string{"recover", dir} }, recovers, "import"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, other := newBase(t), newBase(t)
			dir, twin := filepath.Join(base, "store"), filepath.Join(other, "store")
			c.make(t, dir)
			c.make(t, twin)
			o, err := traced(t.TempDir(), nil, nil, "", append([]string{tools.loomctl}, c.args(dir)...)...)
			if err != nil || o.code != 0 {
				t.Fatalf("%v, exit %d\n%s", err, o.code, o.err)
			}
			got, want := text(translate(o.calls, filepath.Dir(base), dir)), recorded(t, twin, c.same(twin))
			if got != want {
				t.Errorf("the system calls are\n%s\nthe operations are\n%s", got, want)
			}
			if c.golden == "" {
				return
			}
			golden, err := os.ReadFile(filepath.Join("../../image/testdata", c.golden+".log"))
			if err != nil {
				t.Fatal(err)
			}
			// loomctl looks before it opens, and the log ends before the store is
			// closed.
			if !strings.Contains(got, string(golden)) {
				t.Errorf("the system calls are\n%s\nthe golden operations are\n%s", got, golden)
			}
		})
	}
}

// A line of JavaScript is one opening, one checkpoint of the pages that it
// changed, and one closing.
func TestRunDoesNothingElse(t *testing.T) {
	requireTools(t)
	env := guest(t)
	ctx, base, other := context.Background(), newBase(t), newBase(t)
	dir, twin := filepath.Join(base, "store"), filepath.Join(other, "store")
	made := filepath.Join(newBase(t), "store")
	makeStore(t, made, env)
	copyStore(t, made, dir) // both are copies, in which the image has no holes
	copyStore(t, made, twin)
	o, err := traced(t.TempDir(), nil, env, "step()\n", tools.loomctl, "run", dir)
	if err != nil || o.code != 0 || o.out != "1\n" {
		t.Fatalf("%v, exit %d, %q\n%s", err, o.code, o.out, o.err)
	}
	want := recorded(t, twin, func(o *image.Options) error {
		o.MaxPages = (4 << 30) / 16384
		s, _, err := image.Open(ctx, twin, o)
		if err != nil {
			return err
		}
		staged, err := s.Stage(ctx, lastChange(t, dir))
		if err == nil {
			err = s.Commit(staged)
		}
		if err == nil {
			err = s.Apply(ctx)
		}
		if err != nil {
			return err
		}
		return s.Close(ctx)
	})
	if got := text(translate(o.calls, filepath.Dir(base), dir)); got != want {
		t.Errorf("the system calls are\n%s\nthe operations are\n%s", got, want)
	}
}

// lastChange reads the newest checkpoint's change from a store's body.
func lastChange(t *testing.T, dir string) image.Change {
	t.Helper()
	control, memory := open(t, dir, patch.ControlFile), open(t, dir, patch.MemoryFile)
	records, err := patch.ReadControl(control, patch.ControlSize, patch.Standard)
	if err != nil {
		t.Fatal(err)
	}
	info, err := memory.Stat()
	if err != nil {
		t.Fatal(err)
	}
	best := records.Best()
	body, err := patch.ReadBody(memory, info.Size(), best, patch.Standard)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, len(body.Lines)*16384)
	if err := body.ReadPages(0, len(body.Lines), content); err != nil {
		t.Fatal(err)
	}
	c := image.Change{Low: best.Low, App: best.App, Content: func(i int) []byte { return content[i*16384:] }}
	for _, l := range body.Lines {
		c.Pages = append(c.Pages, l.Page)
	}
	return c
}

func open(t *testing.T, dir, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// pendingStore makes a store of two checkpoints, the second not applied.
func pendingStore(t *testing.T, dir string) {
	t.Helper()
	ctx := context.Background()
	s, _, err := image.Open(ctx, dir, &image.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for epoch, pages := range [][]int{{0, 1, 2, 4}, {1, 2, 5}} {
		staged, err := s.Stage(ctx, image.Change{Pages: pages, Low: int64(5+epoch) * 16384,
			Content: func(i int) []byte { return slices.Repeat([]byte{byte(10*epoch + i + 1)}, 16384) }})
		if err == nil {
			err = s.Commit(staged)
		}
		if err == nil && epoch == 0 {
			err = s.Apply(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// vereDirectory makes what vere leaves when it is killed behind its commit
// point: an image of two pages and a patch of pages 1 and 2.
func vereDirectory(t *testing.T, dir string) {
	t.Helper()
	le := binary.LittleEndian
	page := func(generation, p int) []byte { return slices.Repeat([]byte{byte(generation), byte(p)}, 8192) }
	control := le.AppendUint32(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 2), 0), 3), 2)
	var memory []byte
	for p := 1; p <= 2; p++ {
		control = le.AppendUint32(le.AppendUint32(control, uint32(p)), checksum.Sum32(page(2, p)))
		memory = append(memory, page(2, p)...)
	}
	le.PutUint32(control[4:], checksum.Sum32(control[8:]))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"image.bin": append(page(1, 0), page(1, 1)...), "control.bin": control, "memory.bin": memory} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// copyStore copies the files of a store, holes included.
func copyStore(t testing.TB, from, to string) {
	t.Helper()
	if err := copyFiles(from, to); err != nil {
		t.Fatal(err)
	}
}

func copyFiles(from, to string) error {
	names, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, n := range names {
		src, err := os.Open(filepath.Join(from, n.Name()))
		if err != nil {
			return err
		}
		dst, err := os.OpenFile(filepath.Join(to, n.Name()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(dst, src)
			dst.Close()
		}
		src.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
