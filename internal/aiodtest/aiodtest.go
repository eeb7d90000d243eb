// Package aiodtest makes a test binary its own aiod daemon.
package aiodtest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"loomstore/aiod"
)

// Main is a TestMain: it serves if the binary was started as a daemon, else
// runs the tests.
func Main(m *testing.M) {
	Serve()
	// A daemon built with the race detector would linger a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// Serve ends the process behind its service if it was started as a daemon:
// aiod --native --workers N FD.
func Serve() {
	if os.Args[0] != "aiod" {
		return
	}
	workers, err1 := strconv.Atoi(os.Args[3])
	fd, err2 := strconv.Atoi(os.Args[4])
	cfg := aiod.NativeConfig{Control: uintptr(fd), Workers: workers}
	if os.Getenv("AIOD_TRACE") != "" {
		cfg.Trace = os.Stderr
	}
	if spec := os.Getenv(KillEnv); spec != "" {
		cfg.Trace = newKiller(spec)
	}
	err := errors.Join(err1, err2)
	if err == nil {
		err = aiod.ServeNative(&cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "aiod:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Start starts a native daemon, which ends with the test.
func Start(t testing.TB, o aiod.Options) *aiod.Client {
	t.Helper()
	o.Native = true
	if o.Stderr == nil {
		o.Stderr = t.Output()
	}
	c, err := aiod.Start("/proc/self/exe", &o)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no aiod here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
