//go:build linux

package aiod

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests of this file show, one by one, that the original's defects (spec
// section 3, table) are not ours.

// TestLateClose lines up a CLOSE and the OPEN of another file under the same
// number, as a libasync client with one daemon does, before a stopped daemon:
// whatever it takes first, the new file stays open.
func TestLateClose(t *testing.T) {
	for round := range 10 {
		dir := t.TempDir()
		c := startRaw(t, 1)
		name := func(s string) string { return filepath.Join(dir, s) }
		c.open(0, 1024, 7, name("old"))

		pid := c.cmds[0].Process.Pid
		unix.Kill(pid, unix.SIGSTOP)
		stopped(t, pid)
		c.x.putFile(2048, 7, unix.O_RDWR|unix.O_CREAT, name("new"))
		c.x.request(64, OpClose, 1024, 0, 0, 0)
		c.x.request(128, OpOpen, 2048, 0o600, 0, 0)
		c.send(c.sockets[0], 64)
		c.send(c.pipe, 128)
		unix.Kill(pid, unix.SIGCONT)
		c.reply(0)
		c.reply(0)

		if err := os.Remove(name("new")); err != nil {
			t.Fatal(err)
		}
		copy(c.x.view.Bytes()[4096:], "hello")
		c.x.request(192, OpWrite, 2048, 0, 4096, 5)
		if errno := c.ask(0, 192); errno != 0 {
			t.Fatalf("round %d: write to the new, unlinked file: %v", round, unix.Errno(errno))
		}
	}
}

// TestGenerations gives the same in the order that goes wrong in the original,
// and shows that nothing stays open.
func TestGenerations(t *testing.T) {
	dir := t.TempDir()
	x := newExecutor(t, ABI2)
	open := func(fh uint64, name string, want uint32) {
		t.Helper()
		x.putFile(fh, 7, unix.O_RDWR|unix.O_CREAT, name)
		x.request(0, OpOpen, fh, 0o600, 0, 0)
		if errno := x.serve(0); errno != want {
			t.Fatalf("open %s: %v, want %v", name, unix.Errno(errno), unix.Errno(want))
		}
	}
	closeOne := func(fh uint64) {
		t.Helper()
		x.request(0, OpClose, fh, 0, 0, 0)
		if errno := x.serve(0); errno != 0 {
			t.Fatalf("close: %v", unix.Errno(errno))
		}
	}
	use := func(fh uint64) uint32 {
		x.request(64, OpFsync, fh, 0, 0, 0)
		return x.serve(64)
	}
	second := filepath.Join(dir, "second")
	open(1024, filepath.Join(dir, "no/such"), errnoENOENT) // closed too, later
	open(1024, filepath.Join(dir, "first"), 0)
	open(1024, second, 0) // in the block that the first one had
	os.Remove(second)
	for _, what := range []string{"failed OPEN's", "first file's"} {
		closeOne(1024)
		if errno := use(1024); errno != 0 {
			t.Fatalf("after the %s late CLOSE the second file gives %v", what, unix.Errno(errno))
		}
	}
	closeOne(1024)
	if errno := use(1024); errno != errnoENOENT {
		t.Fatalf("the second file is open after its own CLOSE: %v", unix.Errno(errno))
	}
	if n := len(x.files.files); n != 0 {
		t.Errorf("%d handles left", n)
	}
}

// TestDirectoryUnderUsedNumber: of two daemons one still has the directory that
// a number stood for before. Asked for the new one it lists that, although a
// directory's aiod_file says nothing but its path.
func TestDirectoryUnderUsedNumber(t *testing.T) {
	c := startRaw(t, 2)
	list := map[string]bool{}
	for i, name := range []string{"old", "new"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(filepath.Join(dir, "in "+name), 0o700); err != nil {
			t.Fatal(err)
		}
		fh := uint64(1024 * (i + 1))
		c.x.putFile(fh, 7, 0, dir)
		c.x.request(0, OpOpendir, fh, 0, 0, 0)
		if errno := c.ask(i, 0); errno != 0 {
			t.Fatalf("opendir: %v", unix.Errno(errno))
		}
	}
	mem := c.x.view.Bytes()
	for {
		c.x.request(0, OpReaddir, 2048, 0, 4096, direntSize)
		if errno := c.ask(0, 0); errno != 0 {
			t.Fatalf("readdir: %v", unix.Errno(errno))
		}
		if binary.LittleEndian.Uint64(mem[offLen:]) == 0 {
			break
		}
		name, _, _ := strings.Cut(string(mem[4096+direntName:4096+direntSize]), "\x00")
		list[name] = true
	}
	if list["in old"] || !list["in new"] {
		t.Errorf("listed %v", list)
	}
}

// TestUseBehindClose: a request that comes behind the CLOSE of its file opens
// it again, by its path. That must not shift the CLOSEs to come: the next file
// under the number is closed by its own.
func TestUseBehindClose(t *testing.T) {
	c := startRaw(t, 1)
	dir := t.TempDir()
	for i, name := range []string{"first", "second"} {
		path := filepath.Join(dir, name)
		c.open(0, 1024, 7, path)
		c.x.request(0, OpClose, 1024, 0, 0, 0)
		if errno := c.ask(0, 0); errno != 0 {
			t.Fatalf("close: %v", unix.Errno(errno))
		}
		want := uint32(0)
		if i == 1 {
			want = errnoENOENT
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		c.x.request(0, OpFsync, 1024, 0, 0, 0)
		if errno := c.ask(0, 0); errno != want {
			t.Errorf("%s file behind its CLOSE: %v, want %v", name, unix.Errno(errno), unix.Errno(want))
		}
	}
}

// TestCloseOfFreedFile: a CLOSE whose aiod_file was overwritten meanwhile is
// answered, and harms nothing.
func TestCloseOfFreedFile(t *testing.T) {
	c := startRaw(t, 1)
	name := filepath.Join(t.TempDir(), "file")
	c.open(0, 1024, 1, name)
	c.open(0, 2048, 2, name)
	mem := c.x.view.Bytes()
	for i := range mem[1024:2048] {
		mem[1024+i] = 0xa5
	}
	c.x.request(0, OpClose, 1024, 0, 0, 0)
	if errno := c.ask(0, 0); errno != 0 {
		t.Errorf("close: %v", unix.Errno(errno))
	}
	os.Remove(name)
	c.x.request(0, OpFsync, 2048, 0, 0, 0)
	if errno := c.ask(0, 0); errno != 0 {
		t.Errorf("the other file: %v", unix.Errno(errno))
	}
}

// TestBadRequests: what makes the original exit, crash or touch its own memory
// is answered with an error by the same daemon, which goes on.
func TestBadRequests(t *testing.T) {
	c := startRaw(t, 1)
	name := filepath.Join(t.TempDir(), "file")
	c.open(0, 1024, 1, name)
	mem := c.x.view.Bytes()
	size := uint64(len(mem))

	for _, off := range []uint64{size, size - 1, size - 15, ^uint64(0), ^uint64(7), 1 << 63} {
		for _, fd := range []int{c.pipe, c.sockets[0]} { // no room for an error, but for a reply
			c.send(fd, off)
			if got := c.reply(0); got != off {
				t.Errorf("reply %#x to a request at %#x", got, off)
			}
		}
	}
	for _, test := range []struct {
		what string
		make func()
		want uint32
	}{
		{"bad opcode", func() { binary.LittleEndian.PutUint32(mem[64:], 21) }, errnoENOSYS},
		{"opcode -1", func() { binary.LittleEndian.PutUint32(mem[64:], ^uint32(0)) }, errnoENOSYS},
		{"buffer outside", func() { c.x.request(64, OpRead, 1024, 0, 1<<40, 16) }, errnoEFAULT},
		{"buffer across the end", func() { c.x.request(64, OpRead, 1024, 0, size-8, 16) }, errnoEFAULT},
		{"buffer that wraps", func() { c.x.request(64, OpWrite, 1024, 0, ^uint64(0)-7, 16) }, errnoEFAULT},
		{"length that wraps", func() { c.x.request(64, OpWrite, 1024, 0, 4096, ^uint64(0)) }, errnoEFAULT},
		{"file outside", func() { c.x.request(64, OpFsync, 1<<40, 0, 0, 0) }, errnoEFAULT},
		{"file at the end", func() { c.x.request(64, OpFsync, size-8, 0, 0, 0) }, errnoEFAULT},
		{"NOP beyond the end", func() { c.x.request(64, OpNop, size, 0, 0, 0) }, errnoEFAULT},
		{"path without an end", func() {
			c.x.request(64, OpUnlink, 8, 0, 0, 0)
			for i := range 5000 {
				mem[64+offPath+i] = 'x'
			}
		}, errnoENAMETOOLONG},
		{"negative length", func() { c.open(0, 1024, 1, name); c.x.request(64, OpFtrunc, 1024, ^uint64(0), 0, 0) }, errnoEINVAL},
		{"getcwd without room", func() { c.x.request(64, OpGetcwd, 1, 0, 0, 0); copy(mem[64+offPath:], "/\x00") }, errnoERANGE},
		{"getcwd of no bytes", func() { c.x.request(64, OpGetcwd, 0, 0, 0, 0); copy(mem[64+offPath:], "/\x00") }, errnoEINVAL},
		{"stat without room", func() { c.x.request(64, OpStat, 100, 0, 0, 0); copy(mem[64+offPath:], "/\x00") }, errnoERANGE},
	} {
		clear(mem[64:1024])
		test.make()
		if got := c.ask(0, 64); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, unix.Errno(got), unix.Errno(test.want))
		}
	}
}

// TestRefusedGrowth: a NOP past the shared memory says that nothing was written:
// libasync's client looks at nopsize alone.
func TestRefusedGrowth(t *testing.T) {
	x := newExecutor(t, ABI2)
	mem := x.view.Bytes()
	off := uint64(len(mem) - nopSize)
	binary.LittleEndian.PutUint64(mem[off+offNopSize:], 1<<16)
	errno := x.serve(off)
	if n := binary.LittleEndian.Uint64(mem[off+offNopSize:]); errno != errnoEFAULT || n != 0 {
		t.Errorf("%v, nopsize %d; want %v and 0", unix.Errno(errno), n, unix.Errno(errnoEFAULT))
	}
}

// TestTruncatedShared: a client that cuts the shared file short does not take
// the daemon down.
func TestTruncatedShared(t *testing.T) {
	c := startRaw(t, 1)
	c.x.request(1<<20, OpNop, 0, 0, 0, 0)
	if err := c.shm.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	c.send(c.pipe, 1<<20)
	c.reply(0)
	c.x.request(0, OpNop, 0, 0, 0, 0)
	if errno := c.ask(0, 0); errno != 0 {
		t.Errorf("a request that is still there: %v", unix.Errno(errno))
	}
}

// TestClientDeathFinishesQueue: what stands in the pipe when the client goes
// is done; the original did 1 of 100, and with two daemons none.
func TestClientDeathFinishesQueue(t *testing.T) {
	for n := 1; n <= 2; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			const writes = 100
			name := filepath.Join(t.TempDir(), "file")
			c := startRaw(t, n)
			for i := range n {
				c.open(i, 1024, 1, name)
			}
			for _, cmd := range c.cmds {
				unix.Kill(cmd.Process.Pid, unix.SIGSTOP)
				stopped(t, cmd.Process.Pid)
			}
			mem := c.x.view.Bytes()
			for i := range uint64(writes) {
				mem[1<<16+i] = byte(i + 1)
				c.x.request(4096+64*i, OpWrite, 1024, i, 1<<16+i, 1)
				c.send(c.pipe, 4096+64*i)
			}
			c.hangUp()
			for _, cmd := range c.cmds {
				unix.Kill(cmd.Process.Pid, unix.SIGCONT)
			}
			for _, cmd := range c.cmds {
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			}
			c.cmds = nil
			got, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			done := 0
			for i, b := range got {
				if b == byte(i+1) {
					done++
				}
			}
			if done != writes {
				t.Errorf("%d of %d writes were done", done, writes)
			}
		})
	}
}

// TestFloodWithoutReading: more requests than the daemon can reply to while
// nobody reads only make it wait, and then everything is answered.
func TestFloodWithoutReading(t *testing.T) {
	c := startRaw(t, 1)
	const requests = 4000 // the original blocks after 278, the pipe holds 8192
	for range requests {
		c.send(c.pipe, 64)
	}
	for range requests {
		if got := c.reply(0); got != 64 {
			t.Fatalf("reply %d", got)
		}
	}
}

// TestHostileMemory flips the words of requests while they are served: the
// original's second look at the operation aborted it.
func TestHostileMemory(t *testing.T) {
	n := 30000
	if os.Getenv("LOOM_SOAK") == "1" {
		n = 2000000
	}
	c := startRaw(t, 2)
	dir := t.TempDir()
	c.open(0, 1024, 1, filepath.Join(dir, "file"))
	c.open(1, 1024, 1, filepath.Join(dir, "file"))
	mem := c.x.view.Bytes()
	done := make(chan struct{})
	flipping := make(chan struct{})
	go func() {
		defer close(flipping)
		rng := uint64(1)
		words := []uint64{0, 1, 5, 8, 14, 15, 18, 1024, 4096, 1 << 20, 2<<20 - 1, 2 << 20, 1 << 40, 1 << 63, ^uint64(0)}
		for {
			select {
			case <-done:
				return
			default:
			}
			rng = rng*6364136223846793005 + 1442695040888963407
			if rng>>60 == 0 { // a NOP may have wiped it
				c.x.putFile(1024, 1, unix.O_RDWR, filepath.Join(dir, "file"))
			}
			at := 64*(rng>>33%64) + 8*(rng>>40%8)
			word := words[rng>>50%uint64(len(words))]
			if at%64 == 0 && at < 1024 { // operations that can not leave the file
				ops := []Op{OpNop, OpRead, OpWrite, OpFstat, OpFsync, OpReaddir, OpClose, 99}
				word = uint64(ops[rng>>50%uint64(len(ops))])
			}
			binary.LittleEndian.PutUint64(mem[at:], word)
		}
	}()
	for i := range n {
		off := uint64(64 * (i % 16))
		daemon := i % 2
		c.send(c.sockets[daemon], off)
		if got := c.reply(daemon); got != off {
			t.Fatalf("request %d: reply %d, asked %d", i, got, off)
		}
	}
	close(done)
	<-flipping
}
