package shmring

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// roleVar tells a copy of the test binary which end of a pair to be. Its
// arguments follow in os.Args.
const roleVar = "SHMRING_TEST_ROLE"

// roles are the bodies of those processes.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// soak tells that the long versions of the tests are wanted.
var soak = os.Getenv("LOOM_SOAK") == "1"

// hangs is how long a test waits for what must happen. Nothing is asserted
// about time but that it does not run out.
const hangs = 4 * time.Minute

// raceDetector tells that copying is many times slower than it is.
var raceDetector bool

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	t.Cleanup(cancel)
	return ctx
}

// child is a process playing a role.
type child struct {
	*exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ended bool
}

// start runs role in a process of its own. It is killed when the test ends.
func start(t testing.TB, role string, args ...any) *child {
	t.Helper()
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = fmt.Sprint(a)
	}
	c := &child{Cmd: exec.Command(os.Args[0], words...)}
	c.Env = append(os.Environ(), roleVar+"="+role)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kill() })
	return c
}

// line returns the next line that the child prints.
func (c *child) line(t testing.TB) string {
	t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("child printed no line: %v", err)
	}
	return strings.TrimSpace(s)
}

func (c *child) finish(t testing.TB) {
	t.Helper()
	c.ended = true
	if err := c.Wait(); err != nil {
		t.Fatalf("child: %v", err)
	}
}

// kill ends the child with SIGKILL and waits until it is gone.
func (c *child) kill() {
	if c.ended {
		return
	}
	c.ended = true
	_ = c.Process.Kill()
	_ = c.Wait()
}

var names atomic.Int64

// uniqueName returns a name that no other test uses, and removes its objects
// when the test ends.
func uniqueName(t testing.TB) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("no pairs on this system")
	}
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), names.Add(1))
	t.Cleanup(func() { removeObjects(name) })
	return name
}

func removeObjects(name string) {
	for _, suffix := range []string{pushSuffix, popSuffix, controlSuffix} {
		_ = os.Remove(filepath.Join("/dev/shm", namePrefix+name+suffix))
	}
}

// ends is one process's side of a pair.
type ends struct {
	*Pair
	*Producer
	*Consumer
}

func claim(t testing.TB, p *Pair, err error) *ends {
	t.Helper()
	e := hold(t, p, err)
	t.Cleanup(func() { _ = p.Close() })
	return e
}

// hold is claim for a test that closes the pair itself, and makes so many that
// their mappings must be able to go before the test ends.
func hold(t testing.TB, p *Pair, err error) *ends {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	producer, err := p.Producer()
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := p.Consumer()
	if err != nil {
		t.Fatal(err)
	}
	return &ends{p, producer, consumer}
}

// connect returns both sides of a new pair in this process.
func connect(t testing.TB, o *Options) (creator, opener *ends) {
	t.Helper()
	name := uniqueName(t)
	c, err := Create(name, o)
	creator = claim(t, c, err)
	p, err := Open(name, o)
	return creator, claim(t, p, err)
}
