package loom_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/internal/aiodtest"
	"loomstore/loom"
)

func TestMain(m *testing.M) { aiodtest.Main(m) }

// children are the processes that this one has started and not reaped.
func children() (pids []int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range tasks {
		list, _ := os.ReadFile(name) // none of a thread that has ended
		for _, word := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// The daemon is killed again and again. A checkpoint then fails and is tried
// again, or is in doubt, and the store is opened anew; it always holds the last
// checkpoint that was acknowledged, or the one that was begun.
func TestDaemonKilledAtRandom(t *testing.T) {
	steps := 300
	switch {
	case os.Getenv("LOOM_SOAK") != "":
		steps = 100000
	case testing.Short():
		steps = 50
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	o := &loom.Options{IO: aiodfs.New(aiodtest.Start(t, aiod.Options{}))}
	const low = 60 * loom.PageSize
	acked, begun := make([]byte, low), make([]byte, low)
	failures, doubts := 0, 0
	var kills atomic.Int64
	var killing sync.WaitGroup // the timers that have not run out
	kill := func() {
		defer killing.Done()
		for _, pid := range children() {
			unix.Kill(pid, unix.SIGKILL)
			kills.Add(1)
		}
	}
	reopen := func() *loom.Loom {
		o.Size, o.VerifyFull = size, true
		for {
			l, err := loom.Open(dir, o)
			if err == nil {
				if got := l.Bytes()[:low]; !bytes.Equal(got, acked) && !bytes.Equal(got, begun) {
					t.Fatal("the store holds neither what was acknowledged nor what was begun")
				}
				copy(acked, l.Bytes())
				return l
			}
			if !errors.Is(err, aiod.ErrDied) {
				t.Fatal(err)
			}
			failures++
		}
	}
	l := reopen()
	for range steps {
		for range 1 + r.IntN(20) {
			binary.LittleEndian.PutUint64(l.Bytes()[r.IntN(low/8)*8:], r.Uint64())
		}
		if err := l.SetWatermarks(low, size); err != nil {
			t.Fatal(err)
		}
		copy(begun, l.Bytes())
		var timer *time.Timer
		if r.IntN(2) == 0 {
			killing.Add(1)
			timer = time.AfterFunc(time.Duration(r.Int64N(int64(4*time.Millisecond))), kill)
		}
		for {
			_, err := l.Checkpoint(ctx)
			if err == nil {
				copy(acked, begun)
				break
			}
			failures++
			if errors.Is(err, loom.ErrInDoubt) {
				doubts++
				_ = l.Close() // which can not mark the store as closed
				l = reopen()
				break
			}
			if !errors.Is(err, aiod.ErrDied) {
				t.Fatal(err)
			}
		}
		if timer != nil && timer.Stop() {
			kill()
		}
		if m := l.Metrics(); m.IO != "aiod" {
			t.Fatalf("%+v", m)
		}
	}
	t.Logf("%d kills, %d failures, %d doubts", kills.Load(), failures, doubts)
	if failures == 0 {
		t.Error("no kill was noticed")
	}
	killing.Add(1)
	kill()
	killing.Wait()
	// Nobody has asked the daemon for anything since the last kill, or the
	// apply of the last checkpoint died of it: Close is told, and leaves the
	// store unmarked for the next Open to examine.
	if err := l.Close(); err != nil && !errors.Is(err, aiod.ErrDied) {
		t.Fatal(err)
	}
	l = open(t, dir, &loom.Options{})
	if !bytes.Equal(l.Bytes()[:low], acked) {
		t.Fatal("the store does not hold what was acknowledged")
	}
	shut(t, l)
}
