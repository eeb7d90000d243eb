//go:build linux

package aiod_test

import (
	"os"
	"path/filepath"
	"strconv"
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

// daemonPath is the server under test. LOOM_AIOD names another one of ABI 2,
// such as the original, and LOOM_AIOD1 one of ABI 1.
func daemonPath(o *aiod.Options) string {
	path := "/proc/self/exe"
	if p := os.Getenv(otherServer(o)); p != "" {
		path = p
	}
	return path
}

func otherServer(o *aiod.Options) string {
	if o.ABI == aiod.ABI1 {
		return "LOOM_AIOD1"
	}
	return "LOOM_AIOD"
}

// foreign reports whether another server is under test. Only ours speaks the
// native mode.
func foreign() bool { return os.Getenv("LOOM_AIOD") != "" || os.Getenv("LOOM_AIOD1") != "" }

func start(t testing.TB, o aiod.Options) *aiod.Client {
	t.Helper()
	if foreign() && (o.Native || os.Getenv(otherServer(&o)) == "") {
		t.Skip("not run: another server is under test, and this is about ours")
	}
	o.TempDir = t.TempDir()
	if o.Stderr == nil {
		o.Stderr = testWriter{t}
	}
	c, err := aiod.Start(daemonPath(&o), &o)
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

// traceOps are the operations that a trace tells of. Ours names them, the
// original numbers all but NOP.
func traceOps(abi aiod.ABI, trace string) []string {
	var ops []string
	for line := range strings.Lines(trace) {
		words := strings.Fields(strings.ReplaceAll(line, ",", ""))
		if len(words) < 3 {
			continue
		}
		if words[1] == "op" {
			n, err := strconv.Atoi(words[2])
			if err != nil {
				continue
			}
			if op := aiod.Op(n); abi != aiod.ABI1 || op < aiod.OpStatvfs {
				words[1] = op.String()
			} else {
				words[1] = (op + 1).String()
			}
		}
		ops = append(ops, words[1])
	}
	return ops
}

// inModes runs a test in every mode.
func inModes(t *testing.T, f func(t *testing.T, o aiod.Options)) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) { f(t, o) })
	}
}

// soak reports whether long tests are wanted.
func soak() bool { return os.Getenv("LOOM_SOAK") == "1" }
