package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"loomstore/loom"
)

// killed runs c, which reads input, until it has lived for life, and the signal
// ends it, or it ends by itself. It returns the lines that were acknowledged on
// stdout, and whether it found the store locked.
func killed(t *testing.T, c *exec.Cmd, input io.Reader, life time.Duration, signal os.Signal) (acks []string, locked bool) {
	t.Helper()
	var errs bytes.Buffer
	c.Stdin, c.Stderr = input, &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(life, func() { c.Process.Signal(signal) })
	defer timer.Stop()
	var lines []string
	r := bufio.NewReader(out)
	for {
		// A line without its end was not acknowledged.
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	c.Wait()
	if c.ProcessState.ExitCode() == ExitLocked {
		return nil, true
	}
	if c.ProcessState.Exited() && c.ProcessState.ExitCode() != ExitOK {
		t.Fatalf("%v: %v\n%s", c.Args, c.ProcessState, &errs)
	}
	if msg := errs.String(); strings.Contains(msg, "Error") {
		t.Fatalf("%v: %s", c.Args, msg)
	}
	return lines, false
}

// TestKill kills runs at random moments, often while they recover from the last
// one. What is found afterwards is the state behind one input, not older than
// the last that was acknowledged.
func TestKill(t *testing.T) {
	t.Run("lines", func(t *testing.T) { killRounds(t, "lines", 0, 100) })
	// Behind its await the loop prints the number of the step that was saved,
	// and that line waits for the next checkpoint, one step on.
	t.Run("file", func(t *testing.T) { killRounds(t, "file", 1, 100) })
	// A killed run leaves its daemon behind, which has the store locked until
	// what it was given is done.
	t.Run("daemon", func(t *testing.T) { killRounds(t, "lines", 0, 25, "--io=daemon") })
}

// killRounds kills runs of one mode. lead is how many steps more are durable
// than were acknowledged, when a step is acknowledged.
func killRounds(t *testing.T, mode string, lead, rounds int, flags ...string) {
	requireGuest(t)
	t.Parallel()
	switch {
	case os.Getenv("LOOM_SOAK") != "":
		rounds = 2000
	case testing.Short():
		rounds = 15
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cache, dir := t.TempDir(), filepath.Join(t.TempDir(), "state")
	if out, err := loomctl(t, cache, "run", dir, "testdata/counter.js").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// How long a run takes that only looks at the state, on this machine.
	began := time.Now()
	look := loomctl(t, cache, "run", dir)
	look.Stdin = strings.NewReader("verify()\n")
	if out, err := look.Output(); err != nil || string(out) != "0\n" {
		t.Fatalf("%v\n%s", err, out)
	}
	longest := int64(3 * time.Since(began))

	acked, begun := 0, lead // no step after begun can have begun
	answered, silent, refused := 0, 0, 0
	for i := range rounds {
		// Of three rounds one ends before it can answer, one has the time to, and
		// one ends anywhere, in a recovery as likely as not.
		life := time.Duration(random.Int64N(longest))
		switch i % 3 {
		case 0:
			life = time.Duration(random.Int64N(int64(time.Millisecond)))
		case 1:
			life += time.Duration(longest)
		}
		// A run that is asked to end, by SIGTERM, ends as suddenly.
		signal := []os.Signal{syscall.SIGKILL, syscall.SIGTERM}[i/3%2]
		acks, locked := killedRound(t, mode, dir, cache, life, flags, signal)
		for ; locked && len(flags) > 0; refused++ {
			acks, locked = killedRound(t, mode, dir, cache, life, flags, signal)
		}
		if locked {
			t.Fatalf("round %d: locked by a process that is dead", i)
		}
		if len(acks) == 0 {
			begun++
			silent++
			continue
		}
		// The first line tells what was found.
		if acks[0] < acked+lead || acks[0] > begun {
			t.Fatalf("round %d: found step %d, want %d to %d", i, acks[0], acked+lead, begun)
		}
		for j := 1; j < len(acks); j++ {
			if acks[j] != acks[j-1]+1 {
				t.Fatalf("round %d: step %d follows %d", i, acks[j], acks[j-1])
			}
		}
		acked = acks[len(acks)-1]
		begun = acked + lead + 1
		answered++
	}
	t.Logf("%d rounds, %d of them killed before their first answer, %d steps, %d times locked by a daemon", rounds, silent, acked, refused)
	if answered == 0 || silent == 0 {
		t.Errorf("%d rounds came to an answer and %d did not: both must happen", answered, silent)
	}
	verifyStore(t, dir)
}

// verifyStore reads every page of a store.
func verifyStore(t testing.TB, dir string) {
	t.Helper()
	l, err := loom.Open(dir, &loom.Options{VerifyFull: true, NoCreate: true})
	for errors.Is(err, loom.ErrLocked) { // a daemon is at its end
		l, err = loom.Open(dir, &loom.Options{VerifyFull: true, NoCreate: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// killedRound runs one of the two modes and returns the steps it acknowledged,
// the first being the state that was found.
func killedRound(t *testing.T, mode, dir, cache string, life time.Duration, flags []string, signal os.Signal) (steps []int, locked bool) {
	t.Helper()
	run := append([]string{"run", dir}, flags...)
	var lines []string
	if mode == "lines" {
		input := strings.NewReader("verify()\n" + strings.Repeat("step()\n", 10000))
		lines, locked = killed(t, loomctl(t, cache, run...), input, life, signal)
	} else {
		// It goes on behind the await that the last run was killed in, so the
		// step that was found is the one it prints.
		lines, locked = killed(t, loomctl(t, cache, append(run, "testdata/counter_loop.js")...), nil, life, signal)
	}
	for _, l := range lines {
		n, err := strconv.Atoi(l)
		if err != nil {
			t.Fatal(fmt.Errorf("acknowledged %q: %w", l, err))
		}
		steps = append(steps, n)
	}
	return steps, locked
}
