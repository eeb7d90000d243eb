package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// childEnv makes the test binary be loomctl.
const childEnv = "LOOMCTL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	run := func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"loomctl": run, "aiod": run, "aiod1": run})
}

// guestModule is the JavaScript engine that npm installs, seen from this
// package's directory.
const guestModule = "../../guest/node_modules/quickjs-wasi/quickjs.wasm"

// TestScripts runs every testdata/script/*.txtar: one or more a command, named
// COMMAND_what.txtar. A script that needs the guest of loomctl run begins with
//
//	[!guest] skip 'no guest: npm ci --prefix guest --ignore-scripts'
func TestScripts(t *testing.T) {
	guest, err := filepath.Abs(guestModule)
	if err != nil {
		t.Fatal(err)
	}
	_, statErr := os.Stat(guest)
	// One cache of compiled modules for all scripts: compiling the guest takes
	// longer than running most of them.
	cache := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("LOOM_GUEST", guest)
			env.Setenv("XDG_CACHE_HOME", cache)
			// Under -race each child would sleep a second before it exits.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "guest" {
				return statErr == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// requireGuest skips a test that needs the JavaScript engine.
func requireGuest(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs(guestModule)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("no guest, scripts were not run: npm ci --prefix guest --ignore-scripts")
	}
	return path
}

// loomctl is a command that runs this binary as loomctl.
func loomctl(t testing.TB, cache string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), childEnv+"=1", "LOOM_GUEST="+requireGuest(t), "XDG_CACHE_HOME="+cache)
	return c
}
