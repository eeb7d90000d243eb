package endure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"loomstore/image"
	"loomstore/loom"
)

func init() { others["terminated"] = terminated }

// terminated takes checkpoints until SIGTERM, and then closes the store from
// another goroutine, whatever the first one is doing.
func terminated(dir string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	l, err := loom.Open(dir, &loom.Options{Size: arena})
	if err != nil {
		return err
	}
	s := schedule{1}
	var storing sync.Mutex // not while a checkpoint is under way
	over, closed := false, make(chan error)
	go func() {
		<-signals
		storing.Lock()
		over = true // the arena will be gone
		storing.Unlock()
		closed <- l.Close()
	}()
	for epoch := l.Epoch() + 1; ; epoch++ {
		storing.Lock()
		if over {
			storing.Unlock()
			return <-closed
		}
		s.advance(l.Bytes(), epoch)
		storing.Unlock()
		_, err := l.Checkpoint(context.Background())
		if errors.Is(err, loom.ErrClosed) {
			return <-closed
		}
		if err != nil {
			return err
		}
		fmt.Println(epoch)
	}
}

// SIGTERM in the middle of a checkpoint: a program that closes its store then
// leaves one that has nothing to recover, at the last checkpoint.
func TestTerminatedProgramCloses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	last := "0"
	for range 10 {
		c := program("terminated", dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for said, left := 0, 1+random.IntN(20); ; said++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			last = strings.TrimSuffix(line, "\n")
			if said == left {
				if err := c.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.Wait(); err != nil {
			t.Fatalf("%v: %s", err, last)
		}
		plan, err := image.Examine(t.Context(), dir, nil)
		if err != nil || plan.Action != image.ActionNone || fmt.Sprint(plan.Epoch) != last {
			t.Fatalf("%+v, %v; the last checkpoint was %s", plan, err, last)
		}
	}
}

// A program that does not mind SIGTERM is killed by it, and loses nothing.
func TestTerminatedProgramDies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var h history
	var c counts
	for range 20 {
		d := death{signal: syscall.SIGTERM, open: true, life: time.Duration(random.Int64N(int64(10 * time.Millisecond)))}
		if err := cycle(plan{dir: dir, seed: 1, count: 1000}, d, &h, &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := cycle(plan{dir: dir, seed: 1, count: 1}, death{}, &h, &c); err != nil {
		t.Fatal(err)
	}
}
