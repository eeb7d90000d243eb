package shmread

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// roles are what a second process of a test can do where the system allows it.
var roles = map[string]func(args []string) int{}

// play is what a second process of a test does.
func play(role string, args []string) int {
	if r := roles[role]; r != nil {
		return r(args)
	}
	w, err := Create(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch role {
	case "writer": // full speed, until the parent closes our standard input
		stop := make(chan struct{})
		go func() { io.Copy(io.Discard, os.Stdin); close(stop) }()
		for n := int64(0); ; n++ {
			c := record(n)
			if err := w.Update(&c); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			if n == 0 {
				fmt.Println("writing")
			}
			select {
			case <-stop:
				return 0
			default:
			}
		}
	case "die": // waits to be killed in the middle of an update
		c := record(1_000_000)
		w.shared.vergen.Store(w.shared.vergen.Load() | 1<<16)
		for i, word := range c.encode() {
			if i < 4 {
				w.shared.body[i].Store(word)
			}
		}
		fmt.Println("inside")
		io.Copy(io.Discard, os.Stdin)
	}
	return 1
}

// start runs the test binary in a role and waits for its first line.
func start(t *testing.T, role, path, line string) (cmd *exec.Cmd, stdin io.WriteCloser) {
	t.Helper()
	cmd = exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	if got, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || got != line+"\n" {
		t.Fatalf("second process said %q, %v", got, err)
	}
	return cmd, stdin
}

// One process writes as fast as it can, four goroutines read: no record is a
// mixture, and none is older than the one before.
func TestTwoProcessStress(t *testing.T) {
	reads := soak(5_000_000, 1_000_000_000)
	path := filepath.Join(t.TempDir(), "shm")
	writer, stdin := start(t, "writer", path, "writing")
	r := mustOpen(t, path, &Options{VMClock: writeVMClock(t, 0), FollowEvery: -1})

	const readers, fewest = 4, 100
	var torn, backwards, failed, changed atomic.Int64
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			var c ClockErrorBound
			last, seen := int64(-1), 0
			for i := 0; i < reads/readers || seen < fewest; i++ {
				if i >= reads/readers { // on a busy machine: let the writer run too
					time.Sleep(10 * time.Microsecond)
				}
				if err := r.Snapshot(&c); err != nil {
					failed.Add(1)
					continue
				}
				n, whole := numberOf(&c)
				if !whole {
					torn.Add(1)
				}
				if n < last {
					backwards.Add(1)
				}
				if n != last {
					seen++
				}
				last = n
			}
			changed.Add(int64(seen))
		})
	}
	wg.Wait()
	stdin.Close()
	if err := writer.Wait(); err != nil {
		t.Errorf("writer: %v", err)
	}
	t.Logf("at least %d reads saw %d records; %d failed", reads, changed.Load(), failed.Load())
	if torn.Load() != 0 || backwards.Load() != 0 {
		t.Errorf("%d torn, %d backwards", torn.Load(), backwards.Load())
	}
	if failed.Load() > int64(reads/1000) {
		t.Errorf("%d of %d reads failed", failed.Load(), reads)
	}
}

func TestWriterKilledInsideUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w := mustCreate(t, path)
	now, err := CoarseNow()
	if err != nil {
		t.Fatal(err)
	}
	good := ClockErrorBound{AsOf: now, VoidAfter: Timespec{now.Sec + 1000, 0}, BoundNsec: 5000, Status: Synchronized}
	mustUpdate(t, w, good)
	old := mustOpen(t, path, nil)
	if b, err := old.Now(); err != nil || b.Status != Synchronized {
		t.Fatalf("before: %+v, %v", b, err)
	}
	var c ClockErrorBound
	if err := old.Snapshot(&c); err != nil {
		t.Fatal(err)
	}
	before := c
	w.Close()

	cmd, _ := start(t, "die", path, "inside")
	cmd.Process.Kill()
	cmd.Wait()

	for range 3 {
		if err := old.Snapshot(&c); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrNotInitialized) {
			t.Fatalf("snapshot of a half-written record: %v, want ErrBusy", err)
		}
		if c != before {
			t.Fatalf("a failed snapshot left %+v, not the last good %+v", c, before)
		}
		if b, err := old.Now(); err != nil || !b.Status.Trusted() {
			t.Fatalf("Now: %+v, %v, want the last good record", b, err)
		}
	}
	fresh := mustOpen(t, path, nil)
	if err := fresh.Snapshot(new(ClockErrorBound)); !errors.Is(err, ErrNotInitialized) {
		t.Fatalf("first snapshot: %v, want ErrNotInitialized", err)
	}
	if _, err := fresh.Now(); !errors.Is(err, ErrNotInitialized) {
		t.Fatalf("first Now: %v, want ErrNotInitialized", err)
	}

	w = mustCreate(t, path)
	good.BoundNsec = 6000
	mustUpdate(t, w, good)
	for name, r := range map[string]*Reader{"old": old, "fresh": fresh} {
		if err := r.Snapshot(&c); err != nil || c.BoundNsec != 6000 || c.Generation != 4 {
			t.Errorf("%s reader after the restart: %+v, %v, want generation 4", name, c, err)
		}
	}
}
