//go:build linux

package command

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAiodByName executes the program through a symbolic link, as a libasync
// client executes a bare path, and asks operation 9: STATVFS in ABI 2, OPEN in
// ABI 1.
func TestAiodByName(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const fh = 512
	for name, check := range map[string]func(mem []byte) bool{
		"aiod":  func(mem []byte) bool { return binary.LittleEndian.Uint64(mem[16:]) > 0 }, // f_bsize
		"aiod1": func(mem []byte) bool { return binary.LittleEndian.Uint64(mem[fh+16:]) > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			link := filepath.Join(dir, name)
			if err := os.Symlink(exe, link); err != nil {
				t.Fatal(err)
			}
			mem := make([]byte, 4096)
			mem[0] = 9
			binary.LittleEndian.PutUint64(mem[8:], fh) // the file, or the room for the result
			copy(mem[16:], "/\x00\x00")
			if name == "aiod1" {
				clear(mem[16:20]) // the mode
				copy(mem[fh+24:], "/\x00")
			}
			shmName := filepath.Join(dir, "shm")
			if err := os.WriteFile(shmName, mem, 0o600); err != nil {
				t.Fatal(err)
			}
			shm, err := os.OpenFile(shmName, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer shm.Close()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			socket, theirs := os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket")
			cmd := exec.Command(link, "-s", "3", "4", "5")
			cmd.ExtraFiles = []*os.File{shm, r, theirs}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r.Close()
			theirs.Close()
			if _, err := w.Write(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(socket, make([]byte, 8)); err != nil {
				t.Fatalf("reply: %v; daemon said %q", err, stderr.String())
			}
			w.Close()
			socket.Close()
			if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
				t.Errorf("daemon: %v, said %q", err, stderr.String())
			}
			after, err := os.ReadFile(shmName)
			if err != nil {
				t.Fatal(err)
			}
			if errno := binary.LittleEndian.Uint32(after[4:]); errno != 0 || !check(after) {
				t.Errorf("errno %d, memory % x", errno, after[:32])
			}
		})
	}
}
