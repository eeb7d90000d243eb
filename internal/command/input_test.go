package command

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"loomstore/internal/vfs"
)

// The command line itself: exit 64, a hint, and nothing done.
func TestUsage(t *testing.T) {
	dir := newStore(t, false)
	before := tree(t, dir)
	for _, args := range [][]string{
		{}, {"frob"}, {"inf", dir}, {"--frob"},
		{"info"}, {"info", dir, dir}, {"info", "--frob", dir},
		{"verify"}, {"verify", dir, dir}, {"verify", "--quick=perhaps", dir},
		{"recover"}, {"recover", "--dry", dir},
		{"backup", dir}, {"backup", dir, "a", "b"}, {"restore", dir}, {"export", "--vere", dir},
		{"export", dir, filepath.Join(t.TempDir(), "new")},
		{"patch"}, {"version", "x"}, {"completion"}, {"completion", "csh"}, {"ring"}, {"vmbus"},
		{"help", "frob"},
	} {
		r := ctl(args...).wants(t, ExitUsage)
		if r.out != "" || !strings.Contains(r.stderr, "\nhint: ") {
			t.Errorf("%q: stdout %q, stderr %q", args, r.out, r.stderr)
		}
		// --json counts wherever it stands.
		var f failure
		ctl(append(args, "--json")...).wants(t, ExitUsage).decode(t, &f)
		if f.Schema != 1 || f.Code != "usage" || f.Message == "" {
			t.Errorf("%q: %+v", args, f)
		}
	}
	unchanged(t, "a wrong command line", dir, before)
}

// Where there is no store nothing is made, and the exit code is 10.
func TestNoStore(t *testing.T) {
	base := t.TempDir()
	lay(t, filepath.Join(base, "empty"), nil)
	lay(t, filepath.Join(base, "pier", ".urb", "chk"), nil)
	lay(t, filepath.Join(base, "pier-without-snapshot", ".urb"), nil)
	lay(t, base, map[string]string{"file": "a file"})
	before := tree(t, base)
	for _, name := range []string{"empty", "missing", "pier", "pier-without-snapshot", "file", "missing/below"} {
		dir, dst := filepath.Join(base, name), filepath.Join(base, "new", "dst")
		for _, args := range [][]string{
			{"info", dir}, {"info", "--check", dir}, {"verify", dir}, {"verify", "--quick", dir}, {"patch", dir},
			{"recover", dir}, {"recover", "--dry-run", dir}, {"recover", "--discard-damaged", dir},
			{"backup", dir, dst}, {"restore", dir, dst}, {"export", "--vere", dir, dst},
		} {
			ctl(args...).wants(t, ExitNotStore)
			if r := ctl(append(args, "--json")...).wants(t, ExitNotStore); !strings.Contains(r.out, `"code": "not_a_store"`) {
				t.Errorf("%q: %s", args, r.out)
			}
		}
	}
	unchanged(t, "looking for stores", base, before)
}

// A creation that was cut off is not a store yet, at any point of it.
func TestHalfCreated(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	closeStore(t, openStore(t, whole))
	files := tree(t, whole)
	for name, half := range map[string]map[string]string{
		"control.bin is empty":    {"lock": "1\n", "control.bin": "", "memory.bin": "", "image.bin": "", "sums.bin": ""},
		"no sums.bin yet":         {"lock": "1\n", "control.bin": "", "memory.bin": "", "image.bin": ""},
		"control.bin is half":     {"lock": "1\n", "control.bin": files["control.bin"][:4096], "memory.bin": "", "image.bin": "", "sums.bin": ""},
		"sums.bin without a mark": {"lock": "1\n", "control.bin": files["control.bin"], "memory.bin": "", "image.bin": "", "sums.bin": strings.Repeat("\x00", 8192)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "half")
			lay(t, dir, half)
			before := tree(t, dir)
			ctl("recover", dir).wants(t, ExitNotStore)
			ctl("recover", "--dry-run", dir).wants(t, ExitNotStore)
			ctl("verify", dir).wants(t, ExitNotStore)
			ctl("backup", dir, dir+"-copy").wants(t, ExitNotStore)
			if r := ctl("info", dir).wants(t, ExitOK); !strings.Contains(r.out, "layout       half\n") {
				t.Errorf("info: %s", r.out)
			}
			ctl("info", "--check", dir).wants(t, ExitPending)
			unchanged(t, "looking", dir, before)
			closeStore(t, openStore(t, dir)) // whoever may create begins anew
			ctl("verify", dir).wants(t, ExitOK)
		})
	}
}

// Two writers: the second is told who the first is.
func TestLocked(t *testing.T) {
	dir := newStore(t, false)
	locked := func(t *testing.T, pid int) {
		t.Helper()
		for _, args := range [][]string{{"recover", dir}, {"recover", "--dry-run", dir}} {
			if r := ctl(args...).wants(t, ExitLocked); !strings.Contains(r.stderr, "locked by process "+strconv.Itoa(pid)) {
				t.Errorf("%q: %q, want process %d", args, r.stderr, pid)
			}
			var got recovered
			ctl(append(args, "--json")...).wants(t, ExitLocked).decode(t, &got)
			if got.Code != "locked" || got.Action != "refused" || !strings.Contains(got.Message, strconv.Itoa(pid)) {
				t.Errorf("%q: %+v", args, got)
			}
		}
		// Readers do not mind.
		ctl("info", dir).wants(t, ExitOK)
		ctl("verify", dir).wants(t, ExitOK)
		ctl("patch", dir).wants(t, ExitOK)
	}
	t.Run("this process", func(t *testing.T) {
		s := openStore(t, dir)
		defer closeStore(t, s)
		before := tree(t, dir)
		locked(t, os.Getpid())
		unchanged(t, "a refused writer", dir, before)
	})
	t.Run("another process", func(t *testing.T) {
		pid, release := holdStore(t, dir)
		before := tree(t, dir)
		locked(t, pid)
		unchanged(t, "a refused writer", dir, before)
		release()
		ctl("recover", dir).wants(t, ExitOK)
	})
}

// A pier on which vere is running is not imported.
func TestVereIsRunning(t *testing.T) {
	pier := filepath.Join(t.TempDir(), "pier")
	lay(t, filepath.Join(pier, ".urb", "chk"), map[string]string{"image.bin": vereImage(1, 1)})
	lock, err := vfs.OS.OpenLock(filepath.Join(pier, ".vere.lock"))
	if err == nil {
		err = errors.Join(lock.TryLock(0, true), lock.SetOwner(4711))
	}
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, pier)
	for _, args := range [][]string{{"recover", pier}, {"recover", "--dry-run", pier}} {
		if r := ctl(args...).wants(t, ExitLocked); !strings.Contains(r.stderr, ".vere.lock: locked by process 4711") {
			t.Errorf("%q: %s", args, r.stderr)
		}
	}
	ctl("info", pier).wants(t, ExitOK)
	unchanged(t, "a refusal", pier, before)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	ctl("recover", pier).wants(t, ExitOK)
}

// What is in the way of a copy stays.
func TestCopiesOverwriteNothing(t *testing.T) {
	dir := newStore(t, false)
	older := filepath.Join(t.TempDir(), "older")
	ctl("backup", dir, older).wants(t, ExitOK)
	before := tree(t, older)
	for _, args := range [][]string{{"backup", dir, older}, {"restore", dir, older}, {"restore", dir, filepath.Join(older, "image.bin")}} {
		ctl(args...).wants(t, ExitFailure)
	}
	unchanged(t, "a refused copy", older, before)
	if names, err := os.ReadDir(filepath.Dir(older)); err != nil || len(names) != 1 {
		t.Errorf("left beside the backup: %v, %v", names, err)
	}
	empty := t.TempDir()
	ctl("restore", older, empty).wants(t, ExitOK)
	ctl("verify", empty).wants(t, ExitOK)
	pier := t.TempDir()
	ctl("export", "--vere", older, pier).wants(t, ExitOK)
	ctl("export", "--vere", older, pier).wants(t, ExitFailure)
}

// An image whose length is no whole number of pages: the message has both
// lengths.
func TestTornImage(t *testing.T) {
	dir := newStore(t, false)
	if err := os.Truncate(filepath.Join(dir, "image.bin"), 4*16384-1); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for _, command := range []string{"recover", "info"} {
		if r := ctl(command, dir).wants(t, ExitDamaged); !strings.Contains(r.stderr, "65536 bytes") || !strings.Contains(r.stderr, "65535 bytes") {
			t.Errorf("%s: %s", command, r.stderr)
		}
	}
	if r := ctl("verify", dir).wants(t, ExitDamaged); !strings.Contains(r.out, "want 65536 bytes: got 65535 bytes") {
		t.Errorf("verify: %s", r.out)
	}
	unchanged(t, "a refusal", dir, before)
}

// An unreadable file is an error, and not an absent file.
func TestSomethingElseInPlaceOfAFile(t *testing.T) {
	for _, name := range []string{"image.bin", "control.bin", "sums.bin"} {
		dir := newStore(t, false)
		if err := errors.Join(os.Remove(filepath.Join(dir, name)), os.Mkdir(filepath.Join(dir, name), 0o700)); err != nil {
			t.Fatal(err)
		}
		before := tree(t, dir)
		for _, args := range [][]string{{"recover", dir}, {"verify", dir}, {"backup", dir, dir + "-copy"}} {
			if r := ctl(args...).wants(t, ExitFailure); !strings.Contains(r.stderr, name) {
				t.Errorf("%q: %s", args, r.stderr)
			}
		}
		unchanged(t, "a failure", dir, before)
		if _, err := os.Stat(dir + "-copy"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a backup was left: %v", err)
		}
	}
}
