//go:build linux

package aiod_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"loomstore/aiod"
)

// TestFiles goes once through everything a file can do.
func TestFiles(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		dir := t.TempDir()
		name := filepath.Join(dir, "file")
		f, err := c.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 20000) // several requests
		if n, err := f.WriteAt(big, 100); n != len(big) || err != nil {
			t.Fatalf("WriteAt: %d, %v", n, err)
		}
		if err := errors.Join(f.Sync(), f.SyncData()); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(big))
		if n, err := f.ReadAt(got, 100); n != len(big) || err != nil || !bytes.Equal(got, big) {
			t.Fatalf("ReadAt: %d, %v", n, err)
		}
		if n, err := f.ReadAt(got[:50], int64(len(big))+90); n != 10 || err != io.EOF {
			t.Fatalf("ReadAt at the end: %d, %v; want 10, EOF", n, err)
		}
		if n, err := f.WriteVec([][]byte{[]byte("ab"), nil, []byte("cde")}, 0); n != 5 || err != nil {
			t.Fatalf("WriteVec: %d, %v", n, err)
		}
		if err := f.Truncate(3); err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil || info.Size() != 3 || info.Name() != "file" {
			t.Fatalf("Stat: %v, %v", info, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(got, 0); !errors.Is(err, aiod.ErrClosed) {
			t.Fatalf("ReadAt after Close: %v", err)
		}
		direct, err := os.ReadFile(name)
		if err != nil || string(direct) != "abc" {
			t.Fatalf("read directly: %q, %v", direct, err)
		}
	})
}

// TestNames goes once through everything that changes names.
func TestNames(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		dir := t.TempDir()
		in := func(name string) string { return filepath.Join(dir, name) }
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(c.WriteFile(in("a"), []byte("hello"), 0o600))
		must(c.Link(in("a"), in("b")))
		must(c.Symlink("b", in("s")))
		must(c.Rename(in("a"), in("c")))
		if target, err := c.Readlink(in("s")); target != "b" || err != nil {
			t.Fatalf("Readlink: %q, %v", target, err)
		}
		info, err := c.Stat(in("s"))
		must(err)
		if st := info.Sys().(*aiod.Stat); info.Size() != 5 || st.Nlink != 2 || info.Mode() != 0o600 {
			t.Fatalf("Stat: %+v", st)
		}
		if info, err = c.Lstat(in("s")); err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Fatalf("Lstat: %v, %v", info, err)
		}
		if cwd, err := c.Getcwd(dir); !diesOfGetcwd(o) && (cwd != dir || err != nil) {
			t.Fatalf("Getcwd: %q, %v; want %q", cwd, err, dir)
		}
		must(c.SyncDir(dir))
		must(c.Remove(in("b")))
		if o.ABI == aiod.ABI1 {
			if _, err := c.ReadDir(dir); !errors.Is(err, errors.ErrUnsupported) {
				t.Fatalf("ReadDir in ABI 1: %v", err)
			}
			return
		}
		must(c.Mkdir(in("d"), 0o750))
		entries, err := c.ReadDir(dir)
		must(err)
		want := "[- c d d/ L s]"
		got := "["
		for _, e := range entries {
			got += fs.FormatDirEntry(e) + " "
		}
		if got = got[:len(got)-1] + "]"; got != want {
			t.Errorf("ReadDir: %s, want %s", got, want)
		}
		v, err := c.Statvfs(dir)
		must(err)
		var st syscall.Statfs_t
		must(syscall.Statfs(dir, &st))
		if v.Blocks != st.Blocks || v.Namemax != uint64(st.Namelen) || v.Bsize != uint64(st.Bsize) {
			t.Errorf("Statvfs: %+v, want %+v", v, st)
		}
	})
}

// TestErrnos: each operation's failures arrive as the errno that the kernel
// gave the daemon.
func TestErrnos(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		dir := t.TempDir()
		in := func(name string) string { return filepath.Join(dir, name) }
		if err := errors.Join(os.WriteFile(in("file"), nil, 0o600), os.Mkdir(in("dir"), 0o700), os.WriteFile(in("dir/x"), nil, 0o600),
			os.Symlink("loop", in("loop"))); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("n", 300)
		open := func(name string, flag int) error {
			f, err := c.OpenFile(name, flag, 0o600)
			if err == nil {
				f.Close()
			}
			return err
		}
		readOnly := must(c.OpenFile(in("file"), os.O_RDONLY, 0))
		defer readOnly.Close()
		writeOnly := must(c.OpenFile(in("file"), os.O_WRONLY, 0))
		defer writeOnly.Close()
		_, readErr := writeOnly.ReadAt(make([]byte, 1), 0)
		_, writeErr := readOnly.WriteAt(make([]byte, 1), 0)
		for what, test := range map[string]struct {
			got  error
			want syscall.Errno
		}{
			"open missing":           {open(in("none"), os.O_RDONLY), syscall.ENOENT},
			"open exclusively":       {open(in("file"), os.O_RDWR|os.O_CREATE|os.O_EXCL), syscall.EEXIST},
			"open directory":         {open(in("dir"), os.O_RDWR), syscall.EISDIR},
			"open below a file":      {open(in("file/x"), os.O_RDONLY), syscall.ENOTDIR},
			"open file as directory": {open(in("file"), syscall.O_DIRECTORY), syscall.ENOTDIR},
			"open long name":         {open(in(long), os.O_RDONLY), syscall.ENAMETOOLONG},
			"open long path":         {open(in(strings.Repeat("d/", 3000)), os.O_RDONLY), syscall.ENAMETOOLONG},
			"open loop":              {open(in("loop"), os.O_RDONLY), syscall.ELOOP},
			"open NUL":               {open(in("fi\x00le"), os.O_RDONLY), syscall.EINVAL},
			"read write-only":        {readErr, syscall.EBADF},
			"write read-only":        {writeErr, syscall.EBADF},
			"truncate read-only":     {readOnly.Truncate(1), syscall.EINVAL},
			"truncate negative":      {writeOnly.Truncate(-1), syscall.EINVAL},
			"stat missing":           {second(c.Stat(in("none"))), syscall.ENOENT},
			"lstat below a file":     {second(c.Lstat(in("file/x"))), syscall.ENOTDIR},
			"statvfs missing":        {statvfsErr(c, o, in("none")), syscall.ENOENT},
			"getcwd file":            {getcwdErr(c, o, in("file")), syscall.ENOTDIR},
			"readlink file":          {second(c.Readlink(in("file"))), syscall.EINVAL},
			"remove missing":         {c.Remove(in("none")), syscall.ENOENT},
			"rename missing":         {c.Rename(in("none"), in("b")), syscall.ENOENT},
			"rename onto directory":  {c.Rename(in("file"), in("dir")), syscall.EISDIR},
			"rename into itself":     {c.Rename(in("dir"), in("dir/y")), syscall.EINVAL},
			"link existing":          {c.Link(in("file"), in("dir/x")), syscall.EEXIST},
			"link other file system": {c.Link("/proc/self/status", in("b")), syscall.EXDEV},
			"symlink existing":       {c.Symlink("x", in("file")), syscall.EEXIST},
			"mkdir existing":         {mkdirErr(c, o, in("dir")), syscall.EEXIST},
			"list file":              {listErr(c, o, in("file")), syscall.ENOTDIR},
		} {
			if !errors.Is(test.got, test.want) {
				t.Errorf("%s: %v, want %v", what, test.got, test.want)
			}
		}
		if o.Native {
			if err := c.Remove(in("dir")); !errors.Is(err, syscall.ENOTEMPTY) {
				t.Errorf("remove full directory: %v", err)
			}
		} else if err := c.Remove(in("dir")); !errors.Is(err, syscall.EISDIR) {
			t.Errorf("remove directory: %v", err)
		}
	})
}

// diesOfGetcwd: the original's dispatch of ABI 1 ends one operation early, and
// it exits of what it does not know.
func diesOfGetcwd(o aiod.Options) bool { return o.ABI == aiod.ABI1 && foreign() }

func getcwdErr(c *aiod.Client, o aiod.Options, name string) error {
	_, err := c.Getcwd(name)
	if diesOfGetcwd(o) && errors.Is(err, aiod.ErrDied) {
		return syscall.ENOTDIR
	}
	return err
}

// What ABI 1 does not have fails as it should everywhere else.
func statvfsErr(c *aiod.Client, o aiod.Options, name string) error {
	_, err := c.Statvfs(name)
	return lacking(o, err, syscall.ENOENT)
}

func mkdirErr(c *aiod.Client, o aiod.Options, name string) error {
	return lacking(o, c.Mkdir(name, 0o700), syscall.EEXIST)
}

func listErr(c *aiod.Client, o aiod.Options, name string) error {
	_, err := c.ReadDir(name)
	return lacking(o, err, syscall.ENOTDIR)
}

func lacking(o aiod.Options, err, want error) error {
	if o.ABI == aiod.ABI1 && errors.Is(err, errors.ErrUnsupported) {
		return want
	}
	return err
}
