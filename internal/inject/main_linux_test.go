package inject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// driverVariable makes the test binary the program that embeds the engine and
// does the golden acts.
const driverVariable = "LOOM_INJECT_DRIVER"

func TestMain(m *testing.M) {
	if act := os.Getenv(driverVariable); act != "" {
		if err := drive(act, os.Getenv("LOOM_INJECT_STORE"), os.Getenv("LOOM_INJECT_BROKEN")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if tools.dir != "" {
		os.RemoveAll(tools.dir)
	}
	os.Exit(code)
}

// tools are what the tests need of the machine, looked for once.
var tools struct {
	sync.Once
	dir     string // of this run
	loomctl string
	missing string // why nothing can be run
}

// requireTools skips where system calls can not be traced.
func requireTools(t *testing.T) {
	t.Helper()
	tools.Do(func() {
		if out, err := exec.Command("strace", "-f", "--seccomp-bpf", "-e", "trace=openat", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
			tools.missing = fmt.Sprintf("not run, system calls can not be traced here: strace: %v %s", err, out)
			return
		}
		var err error
		if tools.dir, err = os.MkdirTemp("", "loom-inject-"); err != nil {
			tools.missing = err.Error()
			return
		}
		tools.loomctl = filepath.Join(tools.dir, "loomctl")
		if out, err := build(tools.loomctl).CombinedOutput(); err != nil {
			tools.missing = fmt.Sprintf("not run, loomctl can not be built here: %v %s", err, out)
		}
	})
	if tools.missing != "" {
		t.Skip(tools.missing)
	}
}

// build makes loomctl as it is shipped.
func build(to string, flags ...string) *exec.Cmd {
	args := append([]string{"build", "-trimpath"}, flags...)
	c := exec.Command("go", append(args, "-o", to, "loomstore/cmd/loomctl")...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	return c
}

// guest returns the JavaScript engine of loomctl run, and a directory for what
// it is compiled to.
func guest(t testing.TB) []string {
	t.Helper()
	module, err := filepath.Abs("../../guest/node_modules/quickjs-wasi/quickjs.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(module); err != nil {
		t.Skip("no guest, loomctl run was not run: npm ci --prefix guest --ignore-scripts")
	}
	return []string{"LOOM_GUEST=" + module, "XDG_CACHE_HOME=" + filepath.Join(tools.dir, "cache")}
}

// outcome is how a traced program ended.
type outcome struct {
	code   int  // exit code, if not killed
	killed bool // by SIGKILL
	out    string
	err    string
	calls  []call
}

// traced runs args under strace with options, its standard output in a file, so
// that acknowledgements have a place in the trace.
func traced(dir string, options, env []string, stdin string, args ...string) (outcome, error) {
	trace, stdout := filepath.Join(dir, "trace"), filepath.Join(dir, "stdout")
	out, err := os.Create(stdout)
	if err != nil {
		return outcome{}, err
	}
	defer out.Close()
	// -I4: the signals that end a test end strace and what it traces.
	all := append([]string{"-f", "-y", "-qq", "-I4", "-o", trace}, options...)
	c := exec.CommandContext(context.Background(), "strace", append(all, args...)...)
	c.Env = append(os.Environ(), env...)
	c.Stdin, c.Stdout = strings.NewReader(stdin), out
	var stderr bytes.Buffer
	c.Stderr = &stderr
	err = c.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return outcome{}, err
	}
	o := outcome{code: c.ProcessState.ExitCode(), err: stderr.String()}
	status := c.ProcessState.Sys().(syscall.WaitStatus)
	o.killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	text, err := os.ReadFile(stdout)
	if err != nil {
		return outcome{}, err
	}
	o.out = string(text)
	o.calls, err = parseTrace(trace)
	return o, err
}
