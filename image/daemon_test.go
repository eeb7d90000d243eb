//go:build linux

package image_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/image"
	"loomstore/internal/aiodtest"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// runtimeDir makes the test binary a runtime with a store there.
const runtimeDir = "LOOM_IMAGE_RUNTIME"

func TestMain(m *testing.M) {
	if dir := os.Getenv(runtimeDir); dir != "" && os.Args[0] != "aiod" {
		runtimeMain(dir)
		return
	}
	aiodtest.Main(m)
}

// through are deterministic options for a store whose operations a daemon does.
func through(c *aiod.Client, pageSize int) *image.Options {
	return deterministic(aiodfs.New(c), pageSize)
}

// The operations as the daemon does them, in its order, are those of the
// golden files, which this process would have done itself. A daemon does not
// see what concerns this process alone: what is opened, locked and closed; and
// when the disk begins with what is written makes no difference.
func TestGoldenThroughDaemon(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "store")
	trace, err := os.Create(filepath.Join(t.TempDir(), "trace"))
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	o := through(aiodtest.Start(t, aiod.Options{Trace: true, Stderr: trace}), 16384)
	seen := 0
	compare := func(name string, locks bool) {
		t.Helper()
		text, err := os.ReadFile(trace.Name())
		if err != nil {
			t.Fatal(err)
		}
		got := asGolden(t, string(text[seen:]), dir, locks)
		seen = len(text)
		golden, err := os.ReadFile(filepath.Join("testdata", name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		want := changes(string(golden), locks)
		if got != want {
			t.Errorf("%s: the daemon did\n%swant\n%s", name, got, want)
		}
	}
	open := func() *image.Store {
		t.Helper()
		s, _, err := image.Open(ctx, dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	compare("creation", false)
	m := model{size: 16384}
	for i, act := range []struct {
		name string
		step
	}{
		{"checkpoint-first", step{4, []int{0, 1, 3}}},
		{"checkpoint", step{4, []int{2}}},
		{"checkpoint-grow", step{6, []int{0, 5}}},
		{"checkpoint-shrink", step{3, []int{1}}},
		{"checkpoint-empty", step{3, nil}},
	} {
		if err := checkpoint(s, m.take(uint64(i+1), act.step)); err != nil {
			t.Fatal(err)
		}
		compare(act.name, true)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	compare("close", false)
	s = open()
	compare("open-clean", false)
	checkHolds(t, s, m, 5)
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// changes are the lines of a golden log that change a file.
func changes(log string, locks bool) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		kind, _, _ := strings.Cut(line, " ")
		switch kind {
		case "open", "create", "close", "openlock", "closelock", "owner", "writeback":
			continue
		case "lock", "unlock":
			if !locks {
				continue
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// asGolden writes a daemon's trace the way golden logs are written.
func asGolden(t *testing.T, trace, dir string, locks bool) string {
	t.Helper()
	kinds := map[string]string{"WRITE": "write", "COPY": "write", "FDATASYNC": "sync", "FSYNC": "syncdir", "FTRUNC": "truncate",
		"ALLOCATE": "alloc", "RENEW": "renew", "MKDIR": "mkdir", "LOCK": "lock"}
	var b strings.Builder
	for line := range strings.Lines(trace) {
		text, ok := strings.CutPrefix(strings.TrimSuffix(line, ": err 0\n"), "aiod: ")
		words := strings.Fields(text)
		if !ok || len(words) < 2 {
			t.Fatalf("trace: %q", line)
		}
		kind := kinds[words[0]]
		if kind == "" || kind == "lock" && !locks {
			continue
		}
		name, err := filepath.Rel(dir, words[1])
		if err != nil {
			t.Fatal(err)
		}
		rest := words[2:]
		switch {
		case name == "../..": // the golden store lies at the root
			name = ".."
		case words[0] == "COPY":
			rest = rest[:1]
		case kind == "lock" && rest[1] == "unlock":
			kind, rest = "unlock", rest[:1]
		}
		fmt.Fprintln(&b, strings.Join(append([]string{kind, name}, rest...), " "))
	}
	return b.String()
}

// A store with two checkpoints behind, and the third, which a runtime begins.
var (
	doneSteps = []step{{4, []int{0, 1, 3}}, {6, []int{1, 4}}}
	nextStep  = step{8, []int{0, 1, 5, 7}}
)

func prepareOn(t *testing.T, dir string) model {
	t.Helper()
	s, _, err := image.Open(context.Background(), dir, deterministic(vfs.OS, 4096))
	if err != nil {
		t.Fatal(err)
	}
	m := model{size: 4096}
	for i, st := range doneSteps {
		if err := checkpoint(s, m.take(uint64(i+1), st)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return m
}

// checkStore opens the store without a daemon, compares it with what its epoch
// should hold, and takes the next checkpoint. It returns the epoch.
func checkStore(t *testing.T, dir string, before, after model) (epoch uint64) {
	t.Helper()
	s, _, err := image.Open(context.Background(), dir, deterministic(vfs.OS, 4096))
	if err != nil {
		t.Fatal(err)
	}
	want := before
	if epoch = s.State().Epoch; epoch > 2 {
		want = after
	}
	checkHolds(t, s, want, epoch)
	if err := checkpoint(s, want.take(epoch+1, step{len(want.pages) + 1, []int{len(want.pages)}})); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return epoch
}

// stride is how many operations a test of every one goes on by.
func stride() int {
	if testing.Short() {
		return 5
	}
	return 1
}

func copyModel(m model) *model { return &model{m.size, append([]uint64(nil), m.pages...)} }

// killAt returns a value for KillEnv, and whether the kill has happened.
func killAt(t *testing.T, victim string, n int, since string) (env string, happened func() bool) {
	t.Helper()
	flag := filepath.Join(t.TempDir(), "flag")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return aiodtest.Kill(victim, n, flag, since), func() bool {
		_, err := os.Stat(flag)
		return errors.Is(err, os.ErrNotExist)
	}
}

// The daemon is killed behind each operation of an Open, a checkpoint, its apply
// and a Close. What this process tries again once, as an engine does, is done
// by the next daemon, unless the checkpoint is in doubt; nothing that was
// acknowledged is lost (R1, R4).
func TestDaemonKilledAtEveryOperation(t *testing.T) {
	doubts, n := 0, 1
	for ; ; n += stride() {
		dir := filepath.Join(t.TempDir(), "store")
		before := prepareOn(t, dir)
		after := copyModel(before)
		env, happened := killAt(t, "self", n, "OPEN")
		t.Setenv(aiodtest.KillEnv, env)
		acked, err := checkpointThreeOn(t, dir, after)
		if !happened() {
			if err != nil || acked != 3 {
				t.Fatalf("without a death: epoch %d, %v", acked, err)
			}
			break
		}
		if errors.Is(err, image.ErrInDoubt) {
			doubts++
		} else if err != nil && !errors.Is(err, aiod.ErrDied) {
			t.Fatalf("operation %d: %v", n, err)
		}
		if epoch := checkStore(t, dir, before, *after); epoch < acked || epoch > 3 {
			t.Fatalf("operation %d: epoch %d, but %d was acknowledged (%v)", n, epoch, acked, err)
		}
	}
	if n < 30 || doubts != 2 && !testing.Short() {
		t.Errorf("%d operations, %d of them left a doubt; want 30 at least, and the writing and syncing of the record", n, doubts)
	}
}

func checkpointThreeOn(t *testing.T, dir string, m *model) (uint64, error) {
	c := aiodtest.Start(t, aiod.Options{})
	defer c.Close()
	var errs []error
	for range 2 {
		s, _, err := image.Open(context.Background(), dir, through(c, 4096))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		acked, err := threeOn(s, m.take(3, nextStep))
		return acked, errors.Join(append(errs, err)...)
	}
	t.Fatal(errs)
	return 0, nil
}

// runtimeMain is a runtime that its own daemon kills somewhere.
func runtimeMain(dir string) {
	c, err := aiod.Start("/proc/self/exe", &aiod.Options{Native: true, Stderr: os.Stderr})
	if err == nil {
		var s *image.Store
		if s, _, err = image.Open(context.Background(), dir, through(c, 4096)); err == nil {
			m := model{size: 4096}
			for i, st := range doneSteps {
				m.take(uint64(i+1), st)
			}
			_, err = threeOn(s, m.take(3, nextStep))
		}
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runtimeCommand(dir, env string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), runtimeDir+"="+dir, aiodtest.KillEnv+"="+env)
	cmd.Stderr = os.Stderr
	return cmd
}

// awaitLock returns when the store's lock is free: nobody works on it.
func awaitLock(t *testing.T, dir string) {
	t.Helper()
	l, err := vfs.OS.OpenLock(filepath.Join(dir, image.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Lock(ctx, 0, true); err != nil {
		t.Fatal(err)
	}
}

// headerEpoch is the newest epoch that the image is said to hold, whatever the
// commit records say.
func headerEpoch(t *testing.T, dir string) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, patch.SumsFile))
	if err != nil {
		t.Fatal(err)
	}
	newest := uint64(0)
	for slot := range 2 {
		if h, err := image.UnmarshalHeader(b[slot*patch.BlockSize:][:patch.BlockSize], patch.Geometry{PageSize: 4096}); err == nil {
			newest = max(newest, h.Epoch)
		}
	}
	return newest
}

// The runtime is killed behind each operation that its daemon does. From the
// first byte of the commit record on, the daemon finishes the checkpoint, its
// apply included, before it lets the lock go.
func TestRuntimeKilledAtEveryOperation(t *testing.T) {
	asSubreaper(t)
	finished, n := 0, 1
	for ; ; n += stride() {
		dir := filepath.Join(t.TempDir(), "store")
		before := prepareOn(t, dir)
		after := copyModel(before)
		after.take(3, nextStep)
		env, happened := killAt(t, "parent", n, "OPEN")
		err := runtimeCommand(dir, env).Run()
		if !happened() {
			if err != nil {
				t.Fatalf("without a death: %v", err)
			}
			break
		}
		awaitLock(t, dir)
		reapOrphans()
		header := headerEpoch(t, dir)
		if header == 3 {
			finished++
			// Without recovery: what the files hold is the checkpoint.
			if err := imageHolds(dir, *after); err != nil {
				t.Fatalf("operation %d: the header says epoch 3, but %v", n, err)
			}
		}
		if epoch := checkStore(t, dir, before, *after); epoch != header {
			t.Fatalf("operation %d: epoch %d, but the image had %d when the lock was let go", n, epoch, header)
		}
	}
	// Record, sync, lock, length, three copies, length, entries, header, two
	// syncs and unlock, then the closing.
	if n < 30 || finished < 13/stride() {
		t.Errorf("%d operations, behind %d of which the daemon finished the apply", n, finished)
	}
}

func imageHolds(dir string, m model) error {
	b, err := os.ReadFile(filepath.Join(dir, patch.ImageFile))
	if err != nil {
		return err
	}
	if len(b) != len(m.pages)*m.size {
		return fmt.Errorf("the image has %d bytes", len(b))
	}
	for p := range m.pages {
		if string(b[p*m.size:][:m.size]) != string(m.content(p)) {
			return fmt.Errorf("page %d of the image holds something else", p)
		}
	}
	return nil
}

// A runtime that is killed right behind its commit point leaves a store that is
// locked until the daemon has applied the checkpoint: here a backup, which
// holds the other lock, keeps it waiting.
func TestLockedUntilApplied(t *testing.T) {
	asSubreaper(t)
	dir := filepath.Join(t.TempDir(), "store")
	before := prepareOn(t, dir)
	after := copyModel(before)
	after.take(3, nextStep)
	backup, err := vfs.OS.OpenLock(filepath.Join(dir, image.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	if err := backup.TryLock(1, false); err != nil {
		t.Fatal(err)
	}
	// The first operation behind the write of the record is its sync.
	env, happened := killAt(t, "parent", 1, patch.ControlFile+" 8192+")
	if err := runtimeCommand(dir, env).Run(); err == nil || !happened() {
		t.Fatalf("the runtime was not killed: %v", err)
	}
	for range 3 {
		_, _, err := image.Open(context.Background(), dir, deterministic(vfs.OS, 4096))
		if !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("opened while the daemon has the checkpoint in hand: %v", err)
		}
	}
	if epoch := headerEpoch(t, dir); epoch != 2 {
		t.Fatalf("the image is at epoch %d beside a backup", epoch)
	}
	if err := backup.Unlock(1); err != nil {
		t.Fatal(err)
	}
	awaitLock(t, dir)
	reapOrphans()
	if epoch := headerEpoch(t, dir); epoch != 3 {
		t.Fatalf("the lock is free, and the image at epoch %d", epoch)
	}
	if err := imageHolds(dir, *after); err != nil {
		t.Fatal(err)
	}
	if epoch := checkStore(t, dir, before, *after); epoch != 3 {
		t.Fatalf("epoch %d", epoch)
	}
}

// An apply too large for one sequence is this process's own.
func TestTooLargeToHandOver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, _, err := image.Open(t.Context(), dir, through(aiodtest.Start(t, aiod.Options{}), 256))
	if err != nil {
		t.Fatal(err)
	}
	m := model{size: 256}
	scattered := step{pages: 40000}
	for p := 0; p < scattered.pages; p += 2 {
		scattered.dirty = append(scattered.dirty, p)
	}
	for epoch := range uint64(2) {
		if err := checkpoint(s, m.take(epoch+1, scattered)); err != nil {
			t.Fatal(err)
		}
	}
	checkHolds(t, s, m, 2)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// asSubreaper makes daemons whose runtime was killed this process's orphans.
func asSubreaper(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skipf("not run here: %v", err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

// reapOrphans waits for every child. There are none but daemons at their end.
func reapOrphans() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}
