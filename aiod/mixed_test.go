//go:build linux

package aiod_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"loomstore/aiod"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMixed does the same random operations through a client and directly, in
// two directories, and compares every result and in the end the directories.
func TestMixed(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		t.Parallel()
		n := 20000
		if o.ABI == aiod.ABI1 || o.Daemons > 1 {
			n = 5000
		}
		if soak() {
			n = 1000000
		}
		m := &mixer{
			t: t, o: o, c: start(t, o), rng: rand.New(rand.NewPCG(1, 2)),
			ours: t.TempDir(), direct: t.TempDir(), files: map[int][2]file{},
		}
		for i := range n {
			what, got, want := m.step()
			if got != want {
				t.Fatalf("operation %d, %s: %s, directly %s", i, what, got, want)
			}
		}
		if diff := cmp.Diff(tree(t, m.direct), tree(t, m.ours)); diff != "" {
			t.Errorf("directories (-direct +ours):\n%s", diff)
		}
		for _, pair := range m.files {
			pair[0].Close()
			pair[1].Close()
		}
	})
}

// file is what an open file is to the mixer: ours and directly.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

type mixer struct {
	t            *testing.T
	o            aiod.Options
	c            *aiod.Client
	rng          *rand.Rand
	ours, direct string
	files        map[int][2]file
}

// outcome is a result as text: of the errno, not of its wrapping.
func outcome(err error, result ...any) string {
	if err == io.EOF {
		return fmt.Sprint(append(result, "EOF")...)
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	if err != nil {
		return "no errno: " + err.Error()
	}
	return fmt.Sprint(result...)
}

// sum describes an inode by what two of them in different places share.
func sum(info fs.FileInfo, err error) string {
	if err != nil {
		return outcome(err)
	}
	size := info.Size()
	if info.IsDir() {
		size = 0
	}
	return fmt.Sprint(info.Mode(), size)
}

// step does one operation both ways.
func (m *mixer) step() (what, got, want string) {
	name := func() string { return string(rune('a' + m.rng.IntN(6))) }
	a, b := name(), name()
	if m.rng.IntN(8) == 0 {
		a = filepath.Join(a, name())
	}
	oa, ob, da, db := filepath.Join(m.ours, a), filepath.Join(m.ours, b), filepath.Join(m.direct, a), filepath.Join(m.direct, b)
	slot := m.rng.IntN(6)
	pair, open := m.files[slot]
	off := int64(m.rng.IntN(200000))
	buf := make([]byte, m.rng.IntN(3000))
	if m.rng.IntN(20) == 0 {
		buf = make([]byte, 200000)
	}
	switch op := m.rng.IntN(40); {
	case op < 4 || !open && op >= 20:
		flag := []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY}[m.rng.IntN(3)] |
			[]int{0, os.O_CREATE, os.O_CREATE | os.O_EXCL, os.O_TRUNC, os.O_CREATE | os.O_TRUNC, unix.O_NOFOLLOW, unix.O_DIRECTORY}[m.rng.IntN(7)]
		perm := fs.FileMode(m.rng.IntN(0o1000)) | 0o600
		f, err := m.c.OpenFile(oa, flag, perm)
		g, err2 := os.OpenFile(da, flag, perm)
		if err == nil && err2 == nil {
			if open {
				pair[0].Close()
				pair[1].Close()
			}
			m.files[slot] = [2]file{f, g}
		}
		return fmt.Sprintf("open %s %#x", a, flag), outcome(err), outcome(err2)
	case op < 6:
		return "rename " + a + " " + b, outcome(m.c.Rename(oa, ob)), outcome(unix.Rename(da, db))
	case op < 7:
		return "link " + a + " " + b, outcome(m.c.Link(oa, ob)), outcome(unix.Link(da, db))
	case op < 8:
		return "symlink " + a + " " + b, outcome(m.c.Symlink(a, ob)), outcome(unix.Symlink(a, db))
	case op < 9:
		return "stat " + a, sum(m.c.Stat(oa)), sum(os.Stat(da))
	case op < 10:
		return "lstat " + a, sum(m.c.Lstat(oa)), sum(os.Lstat(da))
	case op < 11:
		s, err := m.c.Readlink(oa)
		s2, err2 := os.Readlink(da)
		return "readlink " + a, outcome(err, s), outcome(err2, s2)
	case op < 12 && m.o.ABI != aiod.ABI1:
		return "mkdir " + a, outcome(m.c.Mkdir(oa, 0o755)), outcome(unix.Mkdir(da, 0o755))
	case op < 13 && m.o.ABI != aiod.ABI1:
		return "readdir " + a, listing(m.c.ReadDir(oa)), listing(os.ReadDir(da))
	case op < 15:
		err := unix.Unlink(da)
		if m.o.Native && err == unix.EISDIR {
			err = unix.Rmdir(da)
		}
		return "remove " + a, outcome(m.c.Remove(oa)), outcome(err)
	case !open:
		return "nothing", "", ""
	case op < 22:
		n, err := pair[0].ReadAt(buf, off)
		buf2 := make([]byte, len(buf))
		n2, err2 := pair[1].ReadAt(buf2, off)
		return fmt.Sprintf("read %d at %d", len(buf), off), outcome(err, n, bytes.Equal(buf, buf2)), outcome(err2, n2, true)
	case op < 32:
		for i := range buf {
			buf[i] = byte(m.rng.Uint32())
		}
		n, err := pair[0].WriteAt(buf, off)
		n2, err2 := pair[1].WriteAt(buf, off)
		return fmt.Sprintf("write %d at %d", len(buf), off), outcome(err, n), outcome(err2, n2)
	case op < 34:
		return fmt.Sprint("truncate ", off), outcome(pair[0].Truncate(off)), outcome(pair[1].Truncate(off))
	case op < 36:
		return "fstat", sum(pair[0].Stat()), sum(pair[1].Stat())
	case op < 37 && m.rng.IntN(20) == 0:
		return "sync", outcome(pair[0].Sync()), outcome(pair[1].Sync())
	case op < 39:
		delete(m.files, slot)
		return "close", outcome(pair[0].Close()), outcome(pair[1].Close())
	}
	return "nothing", "", ""
}

func listing(entries []fs.DirEntry, err error) string {
	if err != nil {
		return outcome(err)
	}
	s := ""
	for _, e := range entries {
		s += fs.FormatDirEntry(e) + " "
	}
	return s
}

// tree is a directory's names and contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[rel] = info.Mode().String()
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[rel] += string(content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
