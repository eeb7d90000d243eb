//go:build linux

package aiod_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"loomstore/aiod"

	"golang.org/x/sys/unix"
)

// started returns the processes that this one has started and not reaped.
func started() []int {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	var pids []int
	for _, name := range tasks {
		list, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended
		}
		for _, word := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// TestDaemonDeath kills a daemon that has requests: they fail, everything
// after is served by a new one, files that were open included.
func TestDaemonDeath(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		dir := t.TempDir()
		name := filepath.Join(dir, "file")
		f, err := c.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("before"), 0); err != nil {
			t.Fatal(err)
		}
		pids := started()
		if len(pids) != max(o.Daemons, 1) {
			t.Fatalf("daemons %v", pids)
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGSTOP)
		}
		failed := make(chan error, 10)
		for range cap(failed) {
			go func() {
				_, err := f.ReadAt(make([]byte, 6), 0)
				failed <- err
			}()
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		for range cap(failed) {
			// One that was late found the new daemon.
			if err := <-failed; err != nil && !errors.Is(err, aiod.ErrDied) {
				t.Errorf("outstanding read: %v, want ErrDied", err)
			}
		}
		p := make([]byte, 6)
		_, err = f.ReadAt(p, 0)
		for range pids { // a death that nobody met yet is this reader's to meet, each once
			if errors.Is(err, aiod.ErrDied) {
				_, err = f.ReadAt(p, 0)
			}
		}
		if err != nil || string(p) != "before" {
			t.Errorf("read after the restart: %q, %v", p, err)
		}
		if o.Native { // by descriptor: the name does not matter
			os.Remove(name)
			killAll()
			if _, err := f.ReadAt(p, 0); err != nil && !errors.Is(err, aiod.ErrDied) {
				t.Errorf("read of the unlinked file: %v", err)
			}
			if _, err := f.ReadAt(p, 0); err != nil {
				t.Errorf("read of the unlinked file after a restart: %v", err)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if now := started(); len(now) > max(o.Daemons, 1) {
			t.Errorf("processes %v: the dead were not reaped", now)
		}
	})
}

func killAll() {
	for _, pid := range started() {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// TestSeveralDaemons: a file unlinked or renamed while it is open, and a
// listing, do not depend on which daemon is asked. In the original they do.
func TestSeveralDaemons(t *testing.T) {
	c := start(t, aiod.Options{Daemons: 3})
	dir := t.TempDir()
	for i := range 6 {
		name := filepath.Join(dir, fmt.Sprint(i))
		f, err := c.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if i%2 == 0 {
			err = os.Remove(name)
		} else {
			err = os.Rename(name, name+"x")
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if _, err := f.WriteAt([]byte("x"), 0); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := c.ReadDir(dir)
		if err != nil || len(entries) != i/2+i%2 {
			t.Fatalf("%d: %v, %v", i, entries, err)
		}
	}
}

// TestBackPressure has far more requests, and bytes, than pipe, sockets and
// shared memory hold: all are served, none waits for ever.
func TestBackPressure(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		o.Memory = 256 << 10
		if o.Native {
			o.Memory = 2 << 20
		}
		c := start(t, o)
		f, err := c.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				p := bytes.Repeat([]byte{byte(i)}, 1000+i*997%150000)
				if _, err := f.WriteAt(p, int64(i)<<18); err != nil {
					t.Error(err)
					return
				}
				q := make([]byte, len(p))
				if _, err := f.ReadAt(q, int64(i)<<18); err != nil || !bytes.Equal(p, q) {
					t.Errorf("%d: read back something else, %v", i, err)
				}
			})
		}
		wg.Wait()
	})
}

// TestContext: a caller that gives up is free at once, and what it leaves
// behind (memory, an open file) is cleaned up when the daemon answers.
func TestContext(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		dir := t.TempDir()
		f, err := c.OpenFile(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, pid := range started() {
			unix.Kill(pid, unix.SIGSTOP)
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error)
		for i := range 20 {
			go func() {
				if i%2 == 0 {
					_, err := f.With(ctx).WriteAt(make([]byte, 100000), 0)
					results <- err
				} else {
					_, err := c.With(ctx).OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_RDWR|os.O_CREATE, 0o600)
					results <- err
				}
			}()
		}
		cancel()
		for range 20 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
		}
		for _, pid := range started() {
			unix.Kill(pid, unix.SIGCONT)
		}
		for i := 0; i < 50 || openIn(started(), dir) > 1; i++ { // needs the memory back
			if _, err := f.WriteAt(make([]byte, 300000), int64(i)); err != nil {
				t.Fatal(err)
			}
			if i > 20000 {
				t.Fatalf("%d files are open in daemons, want the 1 that was not given up", openIn(started(), dir))
			}
		}
	})
}

// openIn counts the files under dir that processes have open.
func openIn(pids []int, dir string) int {
	n := 0
	for _, pid := range pids {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			if name, err := os.Readlink(link); err == nil && strings.HasPrefix(name, dir) {
				n++
			}
		}
	}
	return n
}

// TestClose: what is outstanding fails or is done, and no process is left.
func TestClose(t *testing.T) {
	inModes(t, func(t *testing.T, o aiod.Options) {
		c := start(t, o)
		f, err := c.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					if _, err := f.WriteAt([]byte("x"), 0); err != nil {
						if !errors.Is(err, aiod.ErrClosed) && !errors.Is(err, aiod.ErrDied) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if pids := started(); len(pids) > 0 {
			t.Errorf("left: %v", pids)
		}
		if _, err := c.Stat("/"); !errors.Is(err, aiod.ErrClosed) {
			t.Errorf("Stat after Close: %v", err)
		}
	})
}

// TestStartErrors: what can not be started says so, and leaves nothing.
func TestStartErrors(t *testing.T) {
	for _, test := range []struct {
		path string
		o    aiod.Options
	}{
		{"/no/such/program", aiod.Options{}},
		{"/no/such/program", aiod.Options{Native: true}},
		{"/bin/true", aiod.Options{Native: true}},
		{"/proc/self/exe", aiod.Options{Native: true, Daemons: 2}},
		{"/proc/self/exe", aiod.Options{Memory: 100}},
		{"/proc/self/exe", aiod.Options{ABI: 3}},
		{"/proc/self/exe", aiod.Options{Root: "/"}},
		{"/proc/self/exe", aiod.Options{Native: true, Root: "/no/such/directory"}},
	} {
		if c, err := aiod.Start(test.path, &test.o); err == nil {
			c.Close()
			t.Errorf("Start(%s, %+v): no error", test.path, test.o)
		}
	}
	if pids := started(); len(pids) > 0 {
		t.Errorf("left: %v", pids)
	}
}

// TestProcess: umask and process group are the original's, which leaves its
// client's group unless it is alone (-s).
func TestProcess(t *testing.T) {
	for n := 1; n <= 2; n++ {
		c := start(t, aiod.Options{Daemons: n})
		for range 2 * n { // each has answered, and so begun to serve
			if _, err := c.Stat("/"); err != nil {
				t.Fatal(err)
			}
		}
		pids := started()
		if len(pids) != n {
			t.Fatalf("daemons %v, want %d", pids, n)
		}
		for _, pid := range pids {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(status), "Umask:\t0000\n") {
				t.Errorf("%d daemons: umask is not 0:\n%s", n, status)
			}
			if group, err := unix.Getpgid(pid); err != nil || (group == pid) != (n > 1) {
				t.Errorf("%d daemons: process %d is in group %d, %v", n, pid, group, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestArguments: a daemon is started with what its original takes. That of ABI 1
// takes three descriptors and nothing else.
func TestArguments(t *testing.T) {
	for _, test := range []struct {
		o    aiod.Options
		want []string
	}{
		{aiod.Options{}, []string{"aiod", "-s", "3", "4", "5"}},
		{aiod.Options{Daemons: 2}, []string{"aiod", "3", "4", "5"}},
		{aiod.Options{ABI: aiod.ABI1}, []string{"aiod1", "3", "4", "5"}},
		{aiod.Options{ABI: aiod.ABI1, Daemons: 2}, []string{"aiod1", "3", "4", "5"}},
	} {
		t.Run(strings.Join(test.want, " "), func(t *testing.T) {
			start(t, test.o)
			pids := started()
			if len(pids) == 0 {
				t.Fatal("no daemon")
			}
			for _, pid := range pids {
				line := must(os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)))
				if got := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"); !slices.Equal(got, test.want) {
					t.Errorf("daemon started as %q, want %q", got, test.want)
				}
			}
		})
	}
}

// TestTrace: AIOD_TRACE reports operations and errors.
func TestTrace(t *testing.T) {
	var said lockedBuffer
	c := start(t, aiod.Options{Trace: true, Stderr: &said})
	c.Stat("/no/such/file")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if s := said.String(); !slices.Contains(traceOps(aiod.ABI2, s), "STAT") || !strings.Contains(s, "err 2") {
		t.Errorf("trace: %q", s)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
