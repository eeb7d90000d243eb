package command

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"loomstore/shmread"
)

func TestClockExitCodes(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		empty:                ExitMismatch,
		empty + "-not-there": ExitNotStore,
		filepath.Dir(empty):  ExitMismatch,
	} {
		if got := Main([]string{"loomctl", "clock", path}, strings.NewReader(""), io.Discard, io.Discard); got != want {
			t.Errorf("%s: exit %d, want %d", path, got, want)
		}
	}
}

// untilLines ends a context after so many lines.
type untilLines struct {
	bytes.Buffer
	left int
	end  context.CancelFunc
}

func (u *untilLines) Write(p []byte) (int, error) {
	if u.left -= bytes.Count(p, []byte("\n")); u.left <= 0 {
		u.end()
	}
	return u.Buffer.Write(p)
}

func TestClockWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w, err := shmread.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	asOf, err := shmread.CoarseNow()
	if err != nil {
		t.Fatal(err)
	}
	err = w.Update(&shmread.ClockErrorBound{
		AsOf: asOf, VoidAfter: shmread.Timespec{Sec: asOf.Sec + 1000}, BoundNsec: 5000, Status: shmread.Synchronized,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{true, false} {
		ctx, end := context.WithCancel(context.Background())
		out := &untilLines{left: 3, end: end}
		if err := watchClock(ctx, out, path, clockOptions{json: asJSON, every: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) < 3 {
			t.Fatalf("watched %q", lines)
		}
		for _, line := range lines {
			if !asJSON {
				if !strings.Contains(line, "width 10µs") || !strings.Contains(line, "age ") {
					t.Errorf("line %q", line)
				}
				continue
			}
			var sight clockSight
			if err := json.Unmarshal([]byte(line), &sight); err != nil {
				t.Fatal(err)
			}
			earliest, err1 := time.Parse(time.RFC3339Nano, sight.Earliest)
			latest, err2 := time.Parse(time.RFC3339Nano, sight.Latest)
			if err1 != nil || err2 != nil || latest.Sub(earliest) != 10*time.Microsecond || sight.WidthNs != 10_000 || sight.AgeNs < 0 {
				t.Errorf("sight %+v", sight)
			}
		}
	}
}

// behindLine runs f behind each line.
type behindLine struct {
	untilLines
	f func()
}

func (b *behindLine) Write(p []byte) (int, error) {
	n, err := b.untilLines.Write(p)
	b.f()
	return n, err
}

// A daemon that died inside an update leaves an odd generation: the bound of
// its last record goes on, with its age.
func TestClockWatchInsideAnUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm")
	w, err := shmread.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Update(&shmread.ClockErrorBound{VoidAfter: shmread.Timespec{Sec: 1 << 31}, BoundNsec: 5000, Status: shmread.Synchronized})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	ctx, end := context.WithCancel(context.Background())
	out := &behindLine{untilLines{left: 3, end: end}, func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{3}, 14); err != nil {
			t.Fatal(err)
		}
	}}
	if err := watchClock(ctx, out, path, clockOptions{every: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "width 10µs  age ") {
			t.Errorf("line %q", line)
		}
	}
}

func TestClockWatchWaitsForTheSegment(t *testing.T) {
	ctx, end := context.WithCancel(context.Background())
	out := &untilLines{left: 2, end: end}
	if err := watchClock(ctx, out, filepath.Join(t.TempDir(), "shm"), clockOptions{every: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "not_exist: ") {
		t.Errorf("watched %q", out.String())
	}
}
