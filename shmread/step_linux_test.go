package shmread

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The stepped process reads on its main thread: that is the traced one.
func init() {
	if os.Getenv(roleVariable) == "stepped" {
		runtime.LockOSThread()
	}
}

func init() {
	roles["stepped"] = func(args []string) int {
		fmt.Fprintln(os.Stderr, readStepped(args[0]))
		return 1
	}
}

// readStepped reads a segment again and again, between two stops of its
// thread, and prints what it got.
func readStepped(path string) error {
	debug.SetGCPercent(-1) // would wait for a thread that stands still
	r, err := Open(path, &Options{FollowEvery: -1})
	if err != nil {
		return err
	}
	var c ClockErrorBound
	for {
		stop()
		err := r.Snapshot(&c)
		stop()
		fmt.Println(c, err)
	}
}

// stop is a raw call, so that the scheduler does not notice.
func stop() {
	unix.RawSyscall(unix.SYS_TGKILL, uintptr(os.Getpid()), uintptr(unix.Gettid()), uintptr(unix.SIGSTOP))
}

// stepped is the process that reads, stopped in front of a read.
type stepped struct {
	testing.TB
	pid int
	out *bufio.Scanner
}

func startStepped(t *testing.T, path string) *stepped {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), roleVariable+"=stepped", "GODEBUG=asyncpreemptoff=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("not run: a process can not be traced here: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s := &stepped{t, cmd.Process.Pid, bufio.NewScanner(stdout)}
	s.expect(unix.SIGTRAP) // it has become the test binary
	s.resume()
	s.expect(unix.SIGSTOP)
	return s
}

// wait returns the signal with which the thread has stopped.
func (s *stepped) wait() syscall.Signal {
	s.Helper()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(s.pid, &status, syscall.WALL, nil); err != nil || !status.Stopped() {
		s.Fatalf("the stepped process: %v, status %x", err, status)
	}
	return status.StopSignal()
}

func (s *stepped) expect(want syscall.Signal) {
	s.Helper()
	if got := s.wait(); got != want {
		s.Fatalf("the stepped process stopped with %v, want %v", got, want)
	}
}

func (s *stepped) resume() {
	if err := syscall.PtraceCont(s.pid, 0); err != nil {
		s.Fatal(err)
	}
}

// step runs up to n instructions, and reports whether the read goes on.
func (s *stepped) step(n int) bool {
	for range n {
		if err := syscall.PtraceSingleStep(s.pid); err != nil {
			s.Fatal(err)
		}
		switch sig := s.wait(); sig {
		case unix.SIGTRAP:
		case unix.SIGSTOP:
			return false
		default:
			s.Fatalf("the stepped process stopped with %v", sig)
		}
	}
	return true
}

// result runs to the next read and returns what this one got. The read itself
// may be over.
func (s *stepped) result(over bool) string {
	if !over {
		s.resume()
		s.expect(unix.SIGSTOP)
	}
	s.resume()
	s.expect(unix.SIGSTOP)
	if !s.out.Scan() {
		s.Fatal("the stepped process says nothing more")
	}
	return s.out.Text()
}

// slowWriter makes the ten stores of an update when it is told to.
type slowWriter struct {
	*Writer
	n       int64 // of the next record
	done    int   // stores of it that are made
	current string
}

// stores makes the next n stores.
func (w *slowWriter) stores(n int) {
	for range n {
		c := record(w.n)
		odd, even := nextGenerations(generation(w.shared.vergen.Load()))
		switch w.done {
		case 0:
			w.shared.vergen.Store(joinVergen(2, odd))
		default:
			w.shared.body[w.done-1].Store(c.encode()[w.done-1])
		case 9:
			w.shared.vergen.Store(joinVergen(2, even))
			w.done, w.n = -1, w.n+1
			w.becomes(c)
		}
		w.done++
	}
}

// update writes c.
func (w *slowWriter) update(c ClockErrorBound) {
	odd, even := nextGenerations(generation(w.shared.vergen.Load()))
	w.shared.vergen.Store(joinVergen(2, odd))
	w.turn(c)
	w.shared.vergen.Store(joinVergen(2, even))
	w.becomes(c)
}

// turn is 32,767 updates: what they leave is c with the same generation.
func (w *slowWriter) turn(c ClockErrorBound) {
	for i, word := range c.encode() {
		w.shared.body[i].Store(word)
	}
	w.becomes(c)
}

func (w *slowWriter) becomes(c ClockErrorBound) {
	c.Version, c.Generation = 2, generation(w.shared.vergen.Load())
	w.current = fmt.Sprint(c, error(nil))
}

// A reader is stopped behind each instruction of a read in turn, and there the
// writer gets on: by a whole update, by the rest of one, by a part of one
// whose rest follows some instructions later, by as many as make the
// generation come round. Whatever is read was the record at some moment of the
// read.
func TestWriterBehindEachInstruction(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("not run: too many instructions")
	}
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	const most = 320 // instructions of a read that does not wait
	base := record(0)
	later, wider := base, base
	later.VoidAfter.Sec++
	wider.BoundNsec++
	// What the daemon writes while it is not synchronised moves on, but as_of.
	still := func(w *slowWriter) {
		c := record(w.n)
		c.AsOf = base.AsOf
		w.n++
		w.turn(c)
	}
	scripts := []struct {
		name                string
		before, there, rest func(w *slowWriter)
	}{
		{"update", nil, func(w *slowWriter) { w.stores(10) }, nil},
		{"update of a new record", func(w *slowWriter) { w.stores(10) }, func(w *slowWriter) { w.stores(10) }, nil},
		{"two halves", nil, func(w *slowWriter) { w.stores(5) }, func(w *slowWriter) { w.stores(5) }},
		{"two halves upon a new record", func(w *slowWriter) { w.stores(10) }, func(w *slowWriter) { w.stores(5) }, func(w *slowWriter) { w.stores(5) }},
		{"second half", func(w *slowWriter) { w.stores(5) }, func(w *slowWriter) { w.stores(5) }, nil},
		{"turn", nil, func(w *slowWriter) { w.n++; w.turn(record(w.n - 1)) }, nil},
		{"turn upon a new record", func(w *slowWriter) { w.stores(10) }, func(w *slowWriter) { w.n++; w.turn(record(w.n - 1)) }, nil},
		{"turn without a new as_of", still, still, nil},
		// Words of later and wider, read one after the other, are base.
		{"update after a turn", func(w *slowWriter) { w.turn(later) }, func(w *slowWriter) { w.update(wider) }, nil},
	}
	path := filepath.Join(t.TempDir(), "shm")
	w := &slowWriter{Writer: mustCreate(t, path)}
	w.stores(10)
	reader := startStepped(t, path)
	for _, script := range scripts {
		at := 0
		for over := false; !over && at < most; at++ {
			if script.name == "update after a turn" {
				w.turn(base)
			}
			if got := reader.result(false); got != w.current {
				t.Fatalf("nothing happens: read %s, want %s", got, w.current)
			}
			if script.before != nil {
				script.before(w)
			}
			allowed := []string{w.current}
			over = !reader.step(at)
			script.there(w)
			allowed = append(allowed, w.current)
			if script.rest != nil {
				over = over || !reader.step(4)
				script.rest(w)
				allowed = append(allowed, w.current)
			}
			if got := reader.result(over); !slices.Contains(allowed, got) {
				t.Fatalf("%s behind instruction %d: read\n%s, want one of\n%q", script.name, at, got, allowed)
			}
		}
		t.Logf("%s: %d instructions", script.name, at)
	}
}
