package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// watched is a writer that calls seen once, when text has been written.
type watched struct {
	bytes.Buffer
	text string
	seen func()
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.seen != nil && strings.Contains(w.String(), w.text) {
		w.seen()
		w.seen = nil
	}
	return n, err
}

// runOnce runs loomctl run in this process, interrupted as soon as it has
// printed until on stdout ("": never).
func runOnce(t *testing.T, dir, file, stdin, until string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watched{text: until}
	if until != "" {
		out.seen = cancel
	}
	var errs bytes.Buffer
	s := &streams{in: strings.NewReader(stdin), out: out, err: &errs}
	f := runFlags{size: 64 << 20, every: 1, guest: requireGuest(t)}
	if err := s.run(ctx, f, false, dir, file); err != nil {
		code = s.report(err)
	}
	return code, out.String(), errs.String()
}

func writeScript(t *testing.T, name, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A script that was interrupted goes on where its last checkpoint was, and does
// not begin again, whatever is run next.
func TestResume(t *testing.T) {
	requireGuest(t)
	script := writeScript(t, "steps.js", `
		console.log('first');
		await checkpoint();
		console.log('second');
		await checkpoint();
		console.log('third');`)
	other := writeScript(t, "other.js", "console.log('other')")
	for _, c := range []struct {
		name, file, stdin, want string
	}{
		{"the same file", script, "", "second\nthird\n"},
		{"another file", other, "", "second\nthird\nother\n"},
		{"lines", "", "'a line'\n", "second\nthird\n\"a line\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			code, out, errs := runOnce(t, dir, script, "", "first\n")
			if code != ExitInterrupted || out != "first\n" {
				t.Fatalf("interrupted run: exit %d, %q, %s", code, out, errs)
			}
			if code, out, errs = runOnce(t, dir, c.file, c.stdin, ""); code != ExitOK || out != c.want {
				t.Errorf("next run: exit %d, %q, want %q, %s", code, out, c.want, errs)
			}
			if !strings.Contains(errs, "going on in the middle of the input that was running at epoch 1") {
				t.Errorf("stderr: %s", errs)
			}
			if code, out, errs = runOnce(t, dir, script, "", ""); code != ExitOK || out != "first\nsecond\nthird\n" {
				t.Errorf("run after that: exit %d, %q, %s", code, out, errs)
			}
		})
	}
}

// The value of a line that the last run began has no place among the values of
// this run's lines.
func TestResumeLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	code, out, errs := runOnce(t, dir, "", "console.log('first'); await checkpoint(); await checkpoint(); 42\n", "first\n")
	if code != ExitInterrupted || out != "first\n" {
		t.Fatalf("interrupted run: exit %d, %q, %s", code, out, errs)
	}
	code, out, errs = runOnce(t, dir, "", "'this run'\n", "")
	if code != ExitOK || out != "\"this run\"\n" || !strings.Contains(errs, "the input from the last run has ended: 42\n") {
		t.Errorf("exit %d, %q, %s", code, out, errs)
	}
}

// Nothing is printed that is not durable: a write to stdout finds the state
// that printed it at the epoch it names.
func TestOutputIsDurable(t *testing.T) {
	requireGuest(t)
	dir := filepath.Join(t.TempDir(), "state")
	code, out, errs := runOnce(t, dir, "", "console.log(epoch()); epoch()\nepoch()\n", "")
	if code != ExitOK || out != "0\n0\n1\n" {
		t.Errorf("exit %d, %q, %s", code, out, errs)
	}
}

// Input that ends in an error is not evaluated, and what came before is saved.
func TestInputFails(t *testing.T) {
	guest := requireGuest(t)
	for name, c := range map[string]struct {
		rest io.Reader
		want string
	}{
		"an error":    {iotest.ErrReader(errors.New("the cable is out")), "loomctl: read standard input: the cable is out\n"},
		"a long line": {io.LimitReader(endless{}, maxLine+1), "loomctl: read standard input: a line is longer than 67108864 bytes\nhint: a script in a file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			var out, errs bytes.Buffer
			s := &streams{in: io.MultiReader(strings.NewReader("var n = 7\n"), c.rest), out: &out, err: &errs}
			f := runFlags{size: 64 << 20, every: 100, guest: guest, io: ioDirect}
			if code := s.report(s.run(t.Context(), f, true, dir, "")); code != ExitFailure || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit %d, %s", code, &errs)
			}
			if code, out, errs := runOnce(t, dir, "", "n\n", ""); code != ExitOK || out != "7\n" {
				t.Errorf("next run: exit %d, %q, %s", code, out, errs)
			}
		})
	}
}

// endless is one line without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
