//go:build linux

package aiod

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// rawClient speaks the protocol to daemons by hand, as a foreign client would.
type rawClient struct {
	t       testing.TB
	x       *executor // its memory, and helpers to fill it
	shm     *os.File
	pipe    int
	sockets []int
	cmds    []*exec.Cmd
}

// startRaw starts n of our daemons, with arguments and descriptors as libasync
// gives them.
func startRaw(t testing.TB, n int) *rawClient {
	t.Helper()
	shm, err := os.Create(filepath.Join(t.TempDir(), "shm"))
	if err != nil {
		t.Fatal(err)
	}
	view, err := mapShared(shm, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t: t, shm: shm, x: &executor{abi: ABI2, view: view}}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	c.pipe = p[1]
	reader := os.NewFile(uintptr(p[0]), "pipe")
	defer reader.Close()
	for range n {
		own, err := os.OpenFile(shm.Name(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		theirs := os.NewFile(uintptr(pair[1]), "socket")
		args := []string{"aiod"}
		if n == 1 {
			args = append(args, "-s")
		}
		args = append(args, "3", "4", "5")
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: args, ExtraFiles: []*os.File{own, reader, theirs}, Stderr: os.Stderr}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		own.Close()
		theirs.Close()
		c.cmds = append(c.cmds, cmd)
		c.sockets = append(c.sockets, pair[0])
	}
	t.Cleanup(func() {
		c.hangUp()
		for _, cmd := range c.cmds {
			if err := cmd.Wait(); err != nil {
				t.Errorf("daemon: %v", err)
			}
		}
		view.Close()
		shm.Close()
	})
	return c
}

// hangUp closes the client's ends, as its death would.
func (c *rawClient) hangUp() {
	for _, fd := range append(c.sockets, c.pipe) {
		unix.Close(fd)
	}
	c.sockets, c.pipe = nil, -1
}

func (c *rawClient) send(fd int, off uint64) {
	c.t.Helper()
	if _, err := unix.Write(fd, binary.LittleEndian.AppendUint64(nil, off)); err != nil {
		c.t.Fatal(err)
	}
}

// reply waits for one reply of daemon i.
func (c *rawClient) reply(i int) uint64 {
	c.t.Helper()
	var b [8]byte
	for have := 0; have < len(b); {
		n, err := readAt(c.sockets[i], b[have:], -1)
		if err != nil || n == 0 {
			c.t.Fatalf("reply of daemon %d: %d bytes, %v", i, n, err)
		}
		have += n
	}
	return binary.LittleEndian.Uint64(b[:])
}

// ask sends the request at off to daemon i's socket and returns its err.
func (c *rawClient) ask(i int, off uint64) uint32 {
	c.t.Helper()
	c.send(c.sockets[i], off)
	if got := c.reply(i); got != off {
		c.t.Fatalf("reply %d, asked %d", got, off)
	}
	return binary.LittleEndian.Uint32(c.x.view.Bytes()[off+offErr:])
}

// open opens path under a handle number, by daemon i.
func (c *rawClient) open(i int, fh uint64, handle uint32, path string) {
	c.t.Helper()
	c.x.putFile(fh, handle, unix.O_RDWR|unix.O_CREAT, path)
	c.x.request(0, OpOpen, fh, 0o600, 0, 0)
	if errno := c.ask(i, 0); errno != 0 {
		c.t.Fatalf("open %s: %v", path, unix.Errno(errno))
	}
}

// stopped waits until a process that was sent SIGSTOP has stopped.
func stopped(t testing.TB, pid int) {
	t.Helper()
	var info unix.WaitStatus
	if _, err := unix.Wait4(pid, &info, unix.WUNTRACED, nil); err != nil || !info.Stopped() {
		t.Fatalf("wait for process %d to stop: %v, %v", pid, info, err)
	}
}
