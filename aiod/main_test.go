//go:build linux

package aiod_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"loomstore/aiod"
	"loomstore/internal/command"
)

// TestMain makes the test binary the daemon where it is called by its name:
// the tests' clients execute it as they would the original.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "aiod") && !strings.HasSuffix(os.Args[0], ".test") {
		os.Exit(command.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	if child := os.Getenv("AIOD_TEST_CHILD"); child != "" {
		children[child]()
		return
	}
	// A daemon built with the race detector would linger a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// children are what other processes of a test do, by name.
var children = map[string]func(){}

// modes are the ways in which a client and its daemons work.
var modes = map[string]aiod.Options{
	"ABI2":   {},
	"ABI2x2": {Daemons: 2},
	"ABI1":   {ABI: aiod.ABI1},
	"native": {Native: true},
}

// daemonPath is the server under test. LOOM_AIOD names another one, such as
// the original: tests of what only ours can do are skipped then.
func daemonPath() string {
	if p := os.Getenv("LOOM_AIOD"); p != "" {
		return p
	}
	return "/proc/self/exe"
}

func start(t testing.TB, o aiod.Options) *aiod.Client {
	t.Helper()
	o.TempDir = t.TempDir()
	if o.Stderr == nil {
		o.Stderr = testWriter{t}
	}
	c, err := aiod.Start(daemonPath(), &o)
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

// testWriter shows what daemons say in the test's log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("daemon: %s", p)
	return len(p), nil
}

// inModes runs a test in every mode.
func inModes(t *testing.T, f func(t *testing.T, o aiod.Options)) {
	for name, o := range modes {
		if os.Getenv("LOOM_AIOD") != "" && (o.Native || o.ABI == aiod.ABI1) {
			continue
		}
		t.Run(name, func(t *testing.T) { f(t, o) })
	}
}

// soak reports whether long tests are wanted.
func soak() bool { return os.Getenv("LOOM_SOAK") == "1" }
