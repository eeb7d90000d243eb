//go:build linux

package aiod

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newExecutor returns the part of a server that carries out requests, over a
// shared file of its own.
func newExecutor(t testing.TB, abi ABI) *executor {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "shm"))
	if err != nil {
		t.Fatal(err)
	}
	view, err := mapShared(f, 1<<17)
	if err != nil {
		t.Fatal(err)
	}
	x := &executor{abi: abi, view: view, shmfd: int(f.Fd())}
	x.files.files = make(map[fileKey][]*openFile)
	t.Cleanup(func() {
		x.files.closeAll()
		view.Close()
		f.Close()
	})
	return x
}

// serve carries out the request at off and returns its err.
func (x *executor) serve(off uint64) uint32 {
	r, err := DecodeRequest(x.abi, x.view.Bytes(), off)
	x.perform(&r, err)
	return binary.LittleEndian.Uint32(x.view.Bytes()[off+offErr:])
}

// request puts a request about the aiod_file at fh into memory.
func (x *executor) request(off uint64, op Op, fh, pos, buf, n uint64) {
	wire, _ := x.abi.encode(op)
	mem := x.view.Bytes()[off:]
	binary.LittleEndian.PutUint32(mem[offOp:], wire)
	binary.LittleEndian.PutUint32(mem[offErr:], 0)
	for i, v := range []uint64{fh, pos, buf, n} {
		binary.LittleEndian.PutUint64(mem[offFH+8*i:], v)
	}
}

// file puts an aiod_file into memory.
func (x *executor) putFile(fh uint64, handle uint32, flags int, path string) {
	mem := x.view.Bytes()[fh:]
	clear(mem[:filePath])
	binary.LittleEndian.PutUint32(mem[fileHandle:], handle)
	binary.LittleEndian.PutUint32(mem[fileFlags:], uint32(flags))
	copy(mem[filePath:], path+"\x00")
}

// TestDumpsReplay lets our server carry out what the recording client asked,
// in the situation it was asked in, and compares the named results.
func TestDumpsReplay(t *testing.T) {
	dir, dumps := loadDumps(t)
	replayed := 0
	for _, d := range dumps {
		if d.Set != "raw-client" || d.After == nil || statSize != 144 {
			continue
		}
		replayed++
		t.Run(d.description, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for _, name := range []string{"a2", "v1"} {
				if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("a", "lnk"); err != nil {
				t.Fatal(err)
			}
			x := newExecutor(t, ABI(d.ABI))
			mem := x.view.Bytes()
			before := d.raw(t, dir, "before")
			if d.FileBefore != nil {
				fh := uint64(d.Before["fh"].(float64))
				file := d.raw(t, dir, "file_before")
				copy(mem[fh:], file)
				path := d.FileBefore["path"].(string)
				if d.Before["name"] != "OPEN" {
					situation(t, x, d.Case, fh, path)
				}
			}
			copy(mem[d.Msg:], before)
			got := x.serve(d.Msg)
			if float64(got) != d.After["err"] {
				t.Errorf("err %d, the original's %v", got, d.After["err"])
			}
			want := d.raw(t, dir, "after")
			for field, at := range map[string][2]int{
				"len": {offLen, 8}, "bufsize": {offBufSize, 8}, "nopsize": {offNopSize, 8}, "op": {offOp, 4},
			} {
				if _, named := d.After[field]; !named {
					continue
				}
				ours, theirs := mem[d.Msg:][at[0]:at[0]+at[1]], want[at[0]:at[0]+at[1]]
				if string(ours) != string(theirs) {
					t.Errorf("%s: %x, the original's %x", field, ours, theirs)
				}
			}
			if target, ok := d.After["target"].(string); ok && string(mem[d.Msg+offPath:][:len(target)]) != target {
				t.Errorf("target %q, the original's %q", mem[d.Msg+offPath:][:len(target)], target)
			}
			if st, ok := d.After["stat"].(map[string]any); ok {
				if got := decodeStat(mem[d.Msg+offFstat:]); float64(got.Size) != st["st_size"] {
					t.Errorf("size %d, the original's %v", got.Size, st["st_size"])
				}
			}
		})
	}
	if replayed < 30 {
		t.Errorf("replayed %d requests", replayed)
	}
}

// situation brings about what had happened before a recorded request on the
// file at fh.
func situation(t *testing.T, x *executor, name string, fh uint64, path string) {
	t.Helper()
	if path == "/dev/full" {
		if _, err := os.Stat(path); err != nil {
			t.Skip(err)
		}
	}
	x.request(0x1f000, OpOpen, fh, 0o600, 0, 0)
	if errno := x.serve(0x1f000); errno != 0 {
		t.Fatalf("open %s: %v", path, unix.Errno(errno))
	}
	if !strings.HasPrefix(path, "/dev/") {
		if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	closeIt := func() {
		x.request(0x1f000, OpClose, fh, 0, 0, 0)
		if errno := x.serve(0x1f000); errno != 0 {
			t.Fatalf("close %s: %v", path, unix.Errno(errno))
		}
	}
	switch name {
	case "close-unknown-handle", "fsync-after-close-reopens":
		closeIt()
	case "fsync-enoent-d1": // a daemon that had not opened the file
		closeIt()
		os.Remove(path)
	case "fsync-estale-d1":
		closeIt()
		if err := os.Rename("a2", path); err != nil {
			t.Fatal(err)
		}
	case "fsync-ok-d0-still-open":
		os.Remove(path)
	}
}
