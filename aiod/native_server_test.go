//go:build linux

package aiod

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

// TestHello: whatever the two ends do not agree on, the server says so instead
// of serving.
func TestHello(t *testing.T) {
	const size = dataAt + 2<<20
	sealed := func(t *testing.T) *os.File {
		f, err := sealedMemory(size)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for name, test := range map[string]struct {
		change func(h *hello)
		memory func(t *testing.T) *os.File
		ok     bool
	}{
		"agreed":           {ok: true},
		"version too new":  {change: func(h *hello) { h.minVersion, h.maxVersion = 2, 3 }},
		"version too old":  {change: func(h *hello) { h.minVersion, h.maxVersion = 0, 0 }},
		"versions overlap": {change: func(h *hello) { h.maxVersion = 9 }, ok: true},
		"other entries":    {change: func(h *hello) { h.entries = 512 }},
		"other entry size": {change: func(h *hello) { h.submission = 128 }},
		"other page":       {change: func(h *hello) { h.page = 1 }},
		"other size":       {change: func(h *hello) { h.shared++ }},
		"not sealed": {memory: func(t *testing.T) *os.File {
			fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
			if err != nil {
				t.Fatal(err)
			}
			f := os.NewFile(uintptr(fd), "memfd")
			f.Truncate(size)
			return f
		}},
		"no memfd": {memory: func(t *testing.T) *os.File {
			f, err := os.Create(filepath.Join(t.TempDir(), "shm"))
			if err != nil {
				t.Fatal(err)
			}
			f.Truncate(size)
			return f
		}},
		"no memory": {memory: func(*testing.T) *os.File { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			defer unix.Close(pair[1])
			h := newHello(size, mapping.SystemPage(), 1)
			if test.change != nil {
				test.change(&h)
			}
			if test.memory == nil {
				test.memory = sealed
			}
			fd := -1
			if f := test.memory(t); f != nil {
				defer f.Close()
				fd = int(f.Fd())
			}
			if err := sendMessage(pair[0], h.encode(), fd); err != nil {
				t.Fatal(err)
			}
			s, err := newNativeServer(&NativeConfig{Control: uintptr(pair[1]), Workers: 1})
			buf := make([]byte, controlMax)
			n, _, recvErr := receiveMessage(pair[0], buf, 0)
			answer, decodeErr := decodeHello(buf[:n])
			if recvErr != nil || decodeErr != nil {
				t.Fatalf("answer: %v, %v", recvErr, decodeErr)
			}
			if test.ok {
				if err != nil || answer.errno != 0 {
					t.Fatalf("refused: %v, %d", err, answer.errno)
				}
				s.view.Close()
				return
			}
			if !errors.Is(err, errHello) || answer.errno == 0 {
				t.Errorf("accepted: %v, %d", err, answer.errno)
			}
		})
	}
}

// newTestServer is a native server without a client.
func newTestServer() *nativeServer {
	s := &nativeServer{view: mapping.NewHeap(dataAt + 2<<20), resolver: resolver{unix.AT_FDCWD}}
	s.data = s.view.Bytes()[dataAt:]
	s.sync = func(int, bool) error { return nil }
	return s
}

func (s *nativeServer) mustOpen(t *testing.T, name string) uint64 {
	t.Helper()
	fd, err := s.open(name, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var a controlAnswer
	if err := s.adopt(fd, &a); err != nil {
		t.Fatal(err)
	}
	return a.handle
}

// TestNativeHandles: a handle that was closed is no handle, though a new file
// stands in its place, in this daemon or in the next.
func TestNativeHandles(t *testing.T) {
	s := newTestServer()
	name := filepath.Join(t.TempDir(), "file")
	old := s.mustOpen(t, name)
	use := func(h uint64) error {
		_, err := s.perform(&Submission{Op: uint32(nativeSync), Handle: h}, func() {})
		return err
	}
	end := func(h uint64) error {
		_, err := s.perform(&Submission{Op: uint32(nativeClose), Handle: h}, func() {})
		return err
	}
	if err := errors.Join(use(old), end(old)); err != nil {
		t.Fatal(err)
	}
	next := s.mustOpen(t, name)
	if old&(1<<indexBits-1) != next&(1<<indexBits-1) {
		t.Fatalf("the place was not used again: %#x, %#x", old, next)
	}
	if err := end(old); err != unix.EBADF {
		t.Errorf("late close: %v", err)
	}
	if err := use(old); err != unix.EBADF {
		t.Errorf("use after close: %v", err)
	}
	if err := errors.Join(use(next), end(next)); err != nil {
		t.Errorf("the new file: %v", err)
	}
	restarted := newTestServer()
	restarted.files.life = 1
	if h := restarted.mustOpen(t, name); h == old {
		t.Errorf("the next daemon gives the same handle %#x", h)
	}
}

// TestNativeSyncFailureStays: the second fsync succeeds in the kernel, and is
// not believed.
func TestNativeSyncFailureStays(t *testing.T) {
	s := newTestServer()
	calls := 0
	s.sync = func(int, bool) error {
		calls++
		if calls == 1 {
			return unix.EIO
		}
		return nil
	}
	name := filepath.Join(t.TempDir(), "file")
	h := s.mustOpen(t, name)
	for i, op := range []nativeOp{nativeSync, nativeSync, nativeSyncData} {
		if _, err := s.perform(&Submission{Op: uint32(op), Handle: h}, func() {}); err != unix.EIO {
			t.Errorf("sync %d: %v, want EIO", i, err)
		}
	}
	if _, err := s.perform(&Submission{Op: uint32(nativeSync), Handle: s.mustOpen(t, name)}, func() {}); err != nil {
		t.Errorf("another handle: %v", err)
	}
	for _, op := range []nativeOp{nativeReset, nativeSync} {
		if _, err := s.perform(&Submission{Op: uint32(op), Handle: h}, func() {}); err != nil {
			t.Errorf("%s behind a reset: %v", nativeNames[op], err)
		}
	}
}

// TestNativeHostileMemory turns the words and entries of a daemon's rings while
// it serves; it must go on serving names and end in order.
func TestNativeHostileMemory(t *testing.T) {
	rounds := 100000
	if os.Getenv("LOOM_SOAK") == "1" {
		rounds = 10000000
	}
	o, err := (&Options{Native: true, Stderr: os.Stderr}).validate()
	if err != nil {
		t.Fatal(err)
	}
	n := &native{path: "/proc/self/exe", opts: o, files: make(map[*nativeFile]struct{})}
	l, err := n.launch(1)
	if err != nil {
		t.Fatal(err)
	}
	a, fd, err := l.call(t.Context(), controlRequest{op: OpOpen, path1: filepath.Join(t.TempDir(), "file"), flags: unix.O_RDWR | unix.O_CREAT, mode: 0o600}, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	mem := l.view.Bytes()
	rng := rand.New(rand.NewPCG(1, 2))
	words := []uint64{0, 1, 2, 3, 5, 9, 64, 4096, 1 << 20, 8 << 20, 1 << 40, 1 << 63, ^uint64(0), a.handle, a.handle, a.handle}
	for range rounds {
		slot := rng.IntN(ringEntries)
		at := submissionsAt + slot*submissionSize + 8*rng.IntN(7)
		binary.LittleEndian.PutUint64(mem[at:], words[rng.IntN(len(words))])
		if rng.IntN(8) == 0 {
			mem[submissionsAt+slot*submissionSize+8] = byte(rng.IntN(int(numNativeOps) + 1))
			clear(mem[submissionsAt+slot*submissionSize+9:][:7])
		}
		switch rng.IntN(64) {
		case 0:
			word := []int{wordSQTail, wordSQAsleep, wordSQBell, wordCQTail, wordCQAsleep, wordCQBell}[rng.IntN(6)]
			l.view.Uint32(word).Store(uint32(words[rng.IntN(len(words))]))
			l.view.FutexWake(wordSQBell, 1)
		case 1, 2, 3:
			l.view.Uint32(wordSQTail).Add(uint32(rng.IntN(20)))
			l.view.Uint32(wordSQBell).Add(1)
			l.view.FutexWake(wordSQBell, 1)
		}
	}
	if _, _, err := l.call(t.Context(), controlRequest{op: OpStat, path1: "/"}, -1, nil); err != nil {
		t.Errorf("stat afterwards: %v", err)
	}
	// An answer that nobody waits for makes the client end a daemon, unless it
	// has ended already for the client; and the socket with it.
	l.link.mu.Lock()
	l.link.err = ErrClosed
	l.link.mu.Unlock()
	l.control.callMu.Lock()
	for _, message := range [][]byte{{1}, make([]byte, controlSize), make([]byte, controlMax)} {
		if err := sendMessage(l.socket, message, -1); err != nil {
			t.Error(err)
		}
	}
	l.control.callMu.Unlock()
	l.link.shut()
	<-l.link.reaped
	if state := l.link.cmd.ProcessState; !state.Success() {
		t.Errorf("daemon: %v", state)
	}
}
