package endure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"loomstore/image"
)

// batchCycles is how many cycles have a seed and a directory of their own.
const batchCycles = 100

// variable reads a number from the environment. What is none ends the test: it
// must not pass for the run that was asked for.
func variable(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// counts are what became of the cycles.
type counts struct {
	cycles, silent, recoveries, checkpoints, creations, backups, refused atomic.Int64
}

func (c *counts) String() string {
	return fmt.Sprintf("%d cycles (%d killed before a word, %d recoveries, %d stores begun anew), %d checkpoints, %d backups, each whole (%d more of what was not yet a store)",
		c.cycles.Load(), c.silent.Load(), c.recoveries.Load(), c.creations.Load(), c.checkpoints.Load(), c.backups.Load(), c.refused.Load())
}

// TestKill kills the program again and again: at an operation of chance, or at a
// moment of chance, in creations, recoveries, checkpoints and closings. Each
// time it finds the state of one epoch, byte for byte, not older than the last
// that was acknowledged; and so does every backup taken meanwhile.
//
// LOOM_KILL_CYCLES asks for more than the few of every run. LOOM_KILL_SEED and
// LOOM_KILL_FROM, a batch, go on where the log says an earlier run was.
func TestKill(t *testing.T) {
	few := uint64(500)
	switch {
	case os.Getenv("LOOM_SOAK") != "":
		few = 100000
	case testing.Short():
		few = 200
	}
	cycles := variable(t, "LOOM_KILL_CYCLES", few)
	seed, first := variable(t, "LOOM_KILL_SEED", uint64(time.Now().UnixNano())), variable(t, "LOOM_KILL_FROM", 0)
	batches := (cycles + batchCycles - 1) / batchCycles
	var c counts
	began, told := time.Now(), time.Now()
	report := func(next uint64) {
		t.Logf("%v: %v, %.0f cycles a second; go on with LOOM_KILL_SEED=%d LOOM_KILL_FROM=%d",
			time.Since(began).Round(time.Second), &c, float64(c.cycles.Load())/time.Since(began).Seconds(), seed, next)
	}
	// Most of the time a cycle waits: for the disk, or for its death.
	const together = 4
	for n := first; n < batches && !t.Failed(); n += together {
		var wg sync.WaitGroup
		for i := n; i < min(n+together, batches); i++ {
			wg.Go(func() {
				if err := batch(t.TempDir(), seed+i, &c); err != nil {
					t.Errorf("LOOM_KILL_SEED=%d LOOM_KILL_FROM=%d: %v", seed, i, err)
				}
			})
		}
		wg.Wait()
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			report(n + together)
		}
	}
	report(batches)
}

// A number that can not be read does not become the few cycles of every run, nor
// another seed.
func TestKillReadsItsNumbers(t *testing.T) {
	for _, name := range []string{"LOOM_KILL_CYCLES", "LOOM_KILL_SEED", "LOOM_KILL_FROM"} {
		c := exec.Command("/proc/self/exe", "-test.run=^TestKill$", "-test.short")
		c.Env = append(os.Environ(), name+"=1e6")
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), name) {
			t.Errorf("%s=1e6: %v\n%s", name, err, out)
		}
	}
}

// history is what is known of one store.
type history struct {
	acked, begun uint64
}

// batch runs batchCycles cycles.
func batch(top string, seed uint64, c *counts) error {
	random := rand.New(rand.NewPCG(seed, 1))
	dir := filepath.Join(top, "store")
	s := schedule{seed}
	var h history
	for i := range batchCycles {
		if i == 0 || random.IntN(10) == 0 {
			c.creations.Add(1)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			h = history{}
		}
		p := plan{dir: dir, seed: seed, count: 1 + random.IntN(30), async: random.IntN(2) == 0}
		d := death{signal: syscall.SIGKILL}
		switch random.IntN(3) {
		case 0:
			p.die = 1 + random.Int64N(150)
			if h.acked == 0 {
				p.die = 1 + random.Int64N(60) // a creation has that many
			}
		case 1:
			d.life = time.Duration(random.Int64N(int64(15 * time.Millisecond)))
		case 2:
			d.open, d.life = true, time.Duration(random.Int64N(int64(5*time.Millisecond)))
		}
		var copied error
		var copying sync.WaitGroup
		if i%4 == 0 {
			oldest := h.acked
			copying.Go(func() { copied = backup(s, dir, filepath.Join(top, "copy"), oldest, c) })
		}
		err := cycle(p, d, &h, c)
		copying.Wait()
		if err := errors.Join(err, copied); err != nil {
			return fmt.Errorf("cycle %d: %w", i, err)
		}
		c.cycles.Add(1)
	}
	// And what is there at the end.
	err := cycle(plan{dir: dir, seed: seed, count: 1}, death{}, &h, c)
	return errors.Join(err, os.RemoveAll(top))
}

// death is how the parent ends a program; the zero value is that it does not.
type death struct {
	signal syscall.Signal
	life   time.Duration
	open   bool // life counts from the moment when the store is open
}

// cycle runs the program once, and learns from what it said.
func cycle(p plan, d death, h *history, c *counts) error {
	cmd := program("checkpoints", p.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(time.Hour, func() { cmd.Process.Signal(d.signal) })
	defer timer.Stop()
	if d.signal != 0 && d.life > 0 && !d.open {
		timer.Reset(d.life)
	}
	said := 0
	var wrong error
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break // a line without its end was not said
		}
		word, action, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if action == string(image.ActionApplied) {
			c.recoveries.Add(1)
		}
		epoch, err := strconv.ParseUint(word, 10, 64)
		switch {
		case err != nil:
			wrong = errors.Join(wrong, fmt.Errorf("the program says %q", line))
		case said == 0 && (epoch < h.acked || epoch > h.begun):
			wrong = errors.Join(wrong, fmt.Errorf("found epoch %d, acknowledged %d, begun %d", epoch, h.acked, h.begun))
		case said > 0 && epoch != h.acked+1:
			wrong = errors.Join(wrong, fmt.Errorf("epoch %d follows %d", epoch, h.acked))
		}
		if said > 0 {
			c.checkpoints.Add(1)
		}
		if said == 0 && d.open {
			timer.Reset(d.life)
		}
		said++
		h.acked, h.begun = epoch, epoch+1
	}
	if said == 0 {
		c.silent.Add(1)
	}
	_ = cmd.Wait()
	if wrong == nil && cmd.ProcessState.Exited() && cmd.ProcessState.ExitCode() != 0 {
		wrong = errors.New(cmd.ProcessState.String())
	}
	if wrong != nil {
		return fmt.Errorf("%w (plan %v, death %+v)\n%s", wrong, p, d, &stderr)
	}
	return nil
}

// backup copies the store while the program works and dies, and checks that the
// copy is one epoch, not older than the one that was acknowledged before.
func backup(s schedule, dir, copy string, oldest uint64, c *counts) error {
	_, err := image.Backup(context.Background(), dir, copy, nil, nil)
	if oldest == 0 && err != nil {
		c.refused.Add(1) // a creation under way, or cut off
		return nil
	}
	if err != nil {
		return err
	}
	epoch, err := checkCopy(s, copy)
	if err == nil && epoch < oldest {
		err = fmt.Errorf("backup of epoch %d, %d was acknowledged before", epoch, oldest)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	c.backups.Add(1)
	return nil
}

// checkCopy opens a backup, compares it with its epoch, and removes it.
func checkCopy(s schedule, dir string) (uint64, error) {
	ctx := context.Background()
	store, report, err := image.Open(ctx, dir, &image.Options{Full: true})
	if err != nil {
		return 0, err
	}
	page := make([]byte, pageSize)
	err = s.check(report.Epoch, report.Pages, func(p int) ([]byte, error) { return page, store.ReadPage(p, page) })
	if report.Action != image.ActionNone {
		err = errors.Join(err, fmt.Errorf("opening it had to do something: %+v", report))
	}
	return report.Epoch, errors.Join(err, store.Close(ctx), os.RemoveAll(dir))
}
