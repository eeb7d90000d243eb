package command

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// result is one run of loomctl in this process.
type result struct {
	code        int
	out, stderr string
}

func ctl(args ...string) result {
	var out, stderr bytes.Buffer
	code := Main(append([]string{"loomctl"}, args...), strings.NewReader(""), &out, &stderr)
	return result{code, out.String(), stderr.String()}
}

// wants fails the test unless the run ended with code. It checks what holds of
// every run: an error has a message and nothing on stdout but a document.
func (r result) wants(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.stderr)
	}
	if code != ExitOK && !strings.HasPrefix(r.stderr, "loomctl: ") {
		t.Errorf("exit %d without a message: %q", code, r.stderr)
	}
	for line := range strings.Lines(r.stderr) {
		if !strings.HasPrefix(line, "loomctl: ") && !strings.HasPrefix(line, "hint: ") {
			t.Errorf("stderr has the line %q", line)
		}
	}
	return r
}

// decode reads the one document on stdout into v, which must name every field.
func (r result) decode(t *testing.T, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(r.out))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in %s", err, r.out)
	}
	if d.More() {
		t.Errorf("more than one document: %s", r.out)
	}
}

// tree reads every file below dir; directories have the content "/".
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			files[name] = "/"
			return nil
		}
		b, err := os.ReadFile(path)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// lay writes files into the new directory dir.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
