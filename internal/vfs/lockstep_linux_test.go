package vfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
)

// memfs and the operating system give the same answers to the same calls.
func TestMemfsIsLikeTheSystem(t *testing.T) {
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		dir := filepath.Join(base, fmt.Sprint(run))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		mem := &machine{fsys: memfs.New(), files: map[string]vfs.File{}}
		real := &machine{fsys: vfs.OS, dir: dir, files: map[string]vfs.File{}}
		defer real.close()
		names := rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/e", "d/e/a", "a/x"})
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			c := call{
				kind: rapid.IntRange(0, 9).Draw(t, "kind"),
				name: names.Draw(t, "name"), other: names.Draw(t, "other"),
				off: rapid.Int64Range(0, 9000).Draw(t, "off"), n: rapid.IntRange(0, 5000).Draw(t, "n"),
				letter: rapid.StringMatching("[a-z]").Draw(t, "letter"),
			}
			if got, want := mem.do(c), real.do(c); got != want {
				t.Fatalf("%+v: memfs gives %q, the system %q", c, got, want)
			}
		}
		if got, want := mem.tree(""), real.tree(""); got != want {
			t.Fatalf("memfs holds\n%s, the system\n%s", got, want)
		}
	})
}

type call struct {
	kind        int
	name, other string
	off         int64
	n           int
	letter      string
}

// machine keeps the file opened last under each name open.
type machine struct {
	fsys  vfs.FS
	dir   string
	files map[string]vfs.File
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) close() {
	for _, f := range m.files {
		f.Close()
	}
}

func (m *machine) do(c call) string {
	switch c.kind {
	case 0, 1:
		flag := os.O_RDWR | []int{0, os.O_CREATE, os.O_CREATE | os.O_EXCL, os.O_TRUNC}[c.n%4]
		f, err := m.fsys.OpenFile(m.path(c.name), flag, 0o600)
		if err == nil {
			if old := m.files[c.name]; old != nil {
				old.Close()
			}
			m.files[c.name] = f
		}
		return class(err)
	case 2:
		return class(m.fsys.Remove(m.path(c.name)))
	case 3:
		return class(m.fsys.Rename(m.path(c.name), m.path(c.other)))
	case 4:
		return class(m.fsys.Mkdir(m.path(c.name), 0o700))
	case 5:
		_, err := m.fsys.Stat(m.path(c.name))
		return class(err)
	}
	f := m.files[c.name]
	if f == nil {
		return "not open"
	}
	switch c.kind {
	case 6:
		n, err := f.WriteAt([]byte(strings.Repeat(c.letter, c.n)), c.off)
		return fmt.Sprint(n, class(err))
	case 7:
		return class(f.Truncate(c.off))
	case 8:
		b := make([]byte, c.n)
		n, err := f.ReadAt(b, c.off)
		return fmt.Sprint(n, err, string(b))
	default:
		bufs := [][]byte{[]byte(c.letter), nil, []byte(strings.Repeat("v", c.n))}
		n, err := f.WriteVec(bufs, c.off)
		length, _, sizeErr := f.Size()
		return fmt.Sprint(n, class(err), length, sizeErr)
	}
}

func class(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return errno.Error()
	default:
		return err.Error()
	}
}

func (m *machine) tree(name string) string {
	list, err := m.fsys.ReadDir(m.path(name))
	if err != nil {
		return class(err)
	}
	var b strings.Builder
	for _, e := range list {
		path := filepath.Join(name, e.Name())
		info, err := m.fsys.Stat(m.path(path))
		if err != nil {
			return class(err)
		}
		if e.IsDir() {
			fmt.Fprintf(&b, "%s/\n%s", path, m.tree(path))
			continue
		}
		content := make([]byte, info.Size())
		f, err := m.fsys.OpenFile(m.path(path), os.O_RDONLY, 0)
		if err != nil {
			return class(err)
		}
		_, err = f.ReadAt(content, 0)
		f.Close()
		fmt.Fprintf(&b, "%s %s %q\n", path, class(err), content)
	}
	return b.String()
}
