package loom_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/aiodfs"
	"loomstore/fault"
	"loomstore/guard"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/loom"
)

var ctx = context.Background()

const page = loom.PageSize

func TestFreePagesAreSkippedAndStayDirty(t *testing.T) {
	dir := t.TempDir()
	free := map[int]bool{2: true}
	l := open(t, dir, &loom.Options{Free: func(p int) bool { return free[p] }})
	for p := range 5 {
		l.Bytes()[p*page] = byte(p + 1)
	}
	if c := save(t, l); c.Pages != 4 {
		t.Fatalf("%d pages saved, want 4 of 5", c.Pages)
	}
	delete(free, 2)
	if c := save(t, l); c.Pages != 1 {
		t.Fatalf("%d pages saved, want the one that was free", c.Pages)
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	for p := range 5 {
		if l.Bytes()[p*page] != byte(p+1) {
			t.Errorf("page %d holds %d", p, l.Bytes()[p*page])
		}
	}
	shut(t, l)
}

func TestDryRunWritesNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	l.Bytes()[0] = 1
	save(t, l)
	shut(t, l)
	l = open(t, dir, &loom.Options{DryRun: true})
	l.Bytes()[0], l.Bytes()[page] = 2, 2
	for range 2 {
		if c := save(t, l); c.Pages != 2 {
			t.Fatalf("%d pages, want 2", c.Pages)
		}
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if l.Bytes()[0] != 1 || l.Epoch() != 1 {
		t.Fatal("a dry run changed the store")
	}
	shut(t, l)
}

func TestAppRecordIsPartOfTheCheckpoint(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	if err := l.SetAppRecord(make([]byte, 1025)); !errors.Is(err, loom.ErrOptions) {
		t.Fatalf("1025 bytes: %v", err)
	}
	if err := l.SetAppRecord([]byte("root 7")); err != nil {
		t.Fatal(err)
	}
	save(t, l)
	if err := l.SetAppRecord([]byte("never committed")); err != nil {
		t.Fatal(err)
	}
	if err := l.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := l.AppRecord(); string(got) != "root 7" {
		t.Fatalf("after rollback: %q", got)
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if got := l.AppRecord(); string(got) != "root 7" {
		t.Fatalf("after open: %q", got)
	}
	shut(t, l)
}

func TestGuardExhaustionIsAnError(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Uffd, fault.Mprotect, fault.Cow, fault.Compare} {
		t.Run(string(kind), func(t *testing.T) {
			l := open(t, t.TempDir(), &loom.Options{Tracker: kind, Guard: true})
			if err := l.SetWatermarks(10*page, 40*page); err != nil {
				t.Fatal(err)
			}
			clear(l.Bytes()[:10*page])
			l.Bytes()[9*page] = 1
			save(t, l)
			err := l.Do(func() error {
				for off := 10 * page; off < 40*page; off += page {
					l.Bytes()[off] = 1 // the watermarks do not follow
				}
				return nil
			})
			var pe *loom.PageError
			if !errors.Is(err, guard.ErrExhausted) || !errors.As(err, &pe) || pe.Page != 25 {
				t.Fatalf("got %v", err)
			}
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			if l.Bytes()[9*page] != 1 || l.Bytes()[10*page] != 0 {
				t.Fatal("rollback after exhaustion")
			}
			shut(t, l)
		})
	}
}

func TestTouchLetsASystemCallIn(t *testing.T) {
	for name, o := range modes(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			source := filepath.Join(t.TempDir(), "source")
			want := bytes.Repeat([]byte("abc"), 3*page)
			if err := os.WriteFile(source, want, 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, dir, o())
			l.Bytes()[0] = 1
			save(t, l)
			f, err := os.Open(source)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			dst := l.Bytes()[100 : 100+len(want)]
			if l.Metrics().Tracker == fault.Mprotect {
				if _, err := f.ReadAt(dst, 0); !errors.Is(err, syscall.EFAULT) || !errors.Is(fault.ExplainEFAULT(err), fault.ErrNotTouched) {
					t.Fatalf("without Touch: %v", err)
				}
			}
			if err := l.Touch(100, len(want)); err != nil {
				t.Fatal(err)
			}
			if _, err := f.ReadAt(dst, 0); err != nil {
				t.Fatal(err)
			}
			save(t, l)
			shut(t, l)
			l = open(t, dir, o())
			if !bytes.Equal(l.Bytes()[100:100+len(want)], want) {
				t.Fatal("what the system call stored was not saved")
			}
			shut(t, l)
		})
	}
}

func TestValidateFindsUnseenStores(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{Tracker: fault.Mprotect, Validate: true})
	for p := range 10 {
		l.Bytes()[p*page] = 1
	}
	save(t, l)
	l.Bytes()[3*page] = 9
	save(t, l)
	shut(t, l)
	// Somebody else writes image.bin: pages that are not private change.
	l = open(t, dir, &loom.Options{Tracker: fault.Mprotect, Validate: true})
	f, err := os.OpenFile(filepath.Join(dir, "image.bin"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{7}, 5*page); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Checkpoint(ctx); !errors.Is(err, loom.ErrValidation) || !strings.Contains(err.Error(), "page 5") {
		t.Fatalf("got %v", err)
	}
	if _, err := f.WriteAt([]byte{1}, 5*page); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	save(t, l)
	shut(t, l)
}

func TestTossUnprotectDirtyAll(t *testing.T) {
	for name, o := range modes(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, o())
			if err := l.SetWatermarks(8*page, size-page); err != nil {
				t.Fatal(err)
			}
			l.Bytes()[7*page], l.Bytes()[20*page] = 1, 1
			save(t, l)
			if err := l.DirtyAll(); err != nil {
				t.Fatal(err)
			}
			if c := save(t, l); c.Pages < 1 || c.Pages > 8 {
				t.Fatalf("%d pages after DirtyAll", c.Pages)
			}
			if err := l.Toss(); err != nil {
				t.Fatal(err)
			}
			if l.Bytes()[7*page] != 1 {
				t.Fatal("Toss took live data")
			}
			if err := l.Unprotect(); err != nil {
				t.Fatal(err)
			}
			l.Bytes()[3*page] = 3
			save(t, l)
			l.Bytes()[4*page] = 4
			save(t, l)
			shut(t, l)
			l = open(t, dir, o())
			for p, want := range []byte{3: 3, 4: 4, 7: 1} {
				if l.Bytes()[p*page] != want {
					t.Errorf("page %d holds %d, want %d", p, l.Bytes()[p*page], want)
				}
			}
			shut(t, l)
		})
	}
}

// A checkpoint that fails before its record is touched loses nothing: the
// next one saves the same pages.
func TestFullDiskIsRetryable(t *testing.T) {
	dir := t.TempDir()
	full := &switchable{err: syscall.ENOSPC, kind: vfs.Allocate}
	l := open(t, dir, &loom.Options{FS: errorfs.New(vfs.OS, full)})
	l.Bytes()[page] = 5
	full.set(true)
	_, err := l.Checkpoint(ctx)
	var ns interface{ Unwrap() error }
	if !errors.Is(err, loom.ErrNoSpace) || !errors.As(err, &ns) {
		t.Fatalf("got %v", err)
	}
	if p, err := l.CheckpointAsync(ctx); err != nil {
		t.Fatal(err)
	} else if err := p.Wait(ctx); !errors.Is(err, loom.ErrNoSpace) {
		t.Fatalf("asynchronous: %v", err)
	}
	full.set(false)
	if c := save(t, l); c.Pages != 2 && c.Pages != 1 || c.Epoch != 1 {
		t.Fatalf("%+v", c)
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if l.Bytes()[page] != 5 {
		t.Fatal("a dirty page was lost")
	}
	shut(t, l)
}

func TestInDoubtEndsCheckpointsNotMemory(t *testing.T) {
	dir := t.TempDir()
	bad := &switchable{err: syscall.EIO, kind: vfs.Write, name: "control.bin"}
	l := open(t, dir, &loom.Options{FS: errorfs.New(vfs.OS, bad)})
	l.Bytes()[0] = 1
	save(t, l)
	bad.set(true)
	l.Bytes()[0] = 2
	for range 2 {
		if _, err := l.Checkpoint(ctx); !errors.Is(err, loom.ErrInDoubt) {
			t.Fatalf("got %v", err)
		}
		bad.set(false)
	}
	if l.Bytes()[0] != 2 {
		t.Fatal("memory changed")
	}
	shut(t, l)
	l = open(t, dir, &loom.Options{})
	if b := l.Bytes()[0]; b != 1 && b != 2 {
		t.Fatalf("holds %d", b)
	}
	l.Bytes()[0] = 3
	save(t, l)
	shut(t, l)
}

// An apply that fails leaves a durable checkpoint: Rollback still finds it,
// and the next checkpoint tries again.
func TestFailedApplyIsRetried(t *testing.T) {
	for name, o := range modes(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bad := &switchable{err: syscall.EIO, kind: vfs.Sync, name: "image.bin"}
			opts := o()
			failing(opts, bad)
			var events []loom.EventKind
			var mu sync.Mutex
			opts.Events = func(e loom.Event) { mu.Lock(); events = append(events, e.Kind); mu.Unlock() }
			l := open(t, dir, opts)
			for p := range 6 {
				l.Bytes()[p*page] = 1
			}
			save(t, l)
			if err := l.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			bad.set(true)
			l.Bytes()[2*page] = 2
			save(t, l)
			if err := l.Wait(ctx); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Wait: %v", err)
			}
			l.Bytes()[2*page], l.Bytes()[3*page] = 9, 9
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			if l.Bytes()[2*page] != 2 || l.Bytes()[3*page] != 1 {
				t.Fatalf("rolled back to %d and %d", l.Bytes()[2*page], l.Bytes()[3*page])
			}
			l.Bytes()[4*page] = 4
			if _, err := l.Checkpoint(ctx); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Checkpoint over a failed apply: %v", err)
			}
			bad.set(false)
			save(t, l)
			if err := l.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			shut(t, l)
			if l.Metrics().ApplyFailures < 3 || events[len(events)-1] != loom.Applied {
				t.Fatalf("%d failures, events %v", l.Metrics().ApplyFailures, events)
			}
			l = open(t, dir, o())
			for p, want := range []byte{1, 1, 2, 1, 4, 1} {
				if l.Bytes()[p*page] != want {
					t.Errorf("page %d holds %d, want %d", p, l.Bytes()[p*page], want)
				}
			}
			shut(t, l)
		})
	}
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []*loom.Options{
		{Size: 100}, {Size: -page}, {Size: -1}, {Size: 1<<63 - page}, {Size: 1<<63 - 1}, {Tracker: "magic"}, {Resident: true, Ephemeral: "x"}, {FS: vfs.OS, IO: aiodfs.New(nil)},
	} {
		if _, err := loom.Open(dir, o); !errors.Is(err, loom.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("a refused Open left %v, %v", names, err)
	}
}

func TestImageLargerThanTheArena(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, &loom.Options{})
	l.Bytes()[30*page] = 1
	save(t, l)
	shut(t, l)
	_, err := loom.Open(dir, &loom.Options{Size: 16 * page})
	if hints := cerrors.GetAllHints(err); len(hints) != 1 {
		t.Errorf("hints %q", hints)
	}
	if !errors.Is(err, loom.ErrMismatch) || !strings.Contains(err.Error(), "16 pages") || !strings.Contains(err.Error(), "31 pages") {
		t.Fatalf("got %v", err)
	}
	l = open(t, dir, &loom.Options{}) // nothing was changed
	shut(t, l)
}

func TestClosedLoom(t *testing.T) {
	l := open(t, t.TempDir(), &loom.Options{})
	shut(t, l)
	if err := l.Close(); !errors.Is(err, loom.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if _, err := l.Checkpoint(ctx); !errors.Is(err, loom.ErrClosed) {
		t.Errorf("Checkpoint: %v", err)
	}
}

// TestMetricsBesideClose: a watching goroutine need not know when the program
// ends; what was counted stays.
func TestMetricsBesideClose(t *testing.T) {
	l := open(t, t.TempDir(), &loom.Options{Tracker: fault.Mprotect})
	l.Bytes()[0] = 1
	save(t, l)
	last := l.Metrics().Tracking
	var wg sync.WaitGroup
	var stop atomic.Bool
	watching := make(chan struct{})
	wg.Go(func() {
		close(watching)
		for !stop.Load() {
			l.Metrics()
		}
	})
	<-watching
	shut(t, l)
	stop.Store(true)
	wg.Wait()
	if m := l.Metrics(); last.Faults == 0 || m.Tracking != last || m.ArenaPages != size/page || m.Epoch != 1 {
		t.Errorf("%+v behind Close, want %+v", m, last)
	}
}

// An apply that is done again renews the image's pages, which read as zero
// until they are written. Memory must not show that, not even of pages that are
// no private copies, because they were called dirty and never stored to.
func TestRetriedApplyLeavesMemoryAlone(t *testing.T) {
	for name, o := range modes(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, o())
			for p := range 6 {
				l.Bytes()[p*page] = 1
			}
			save(t, l)
			shut(t, l)

			bad := &switchable{err: syscall.EIO, kind: vfs.Sync, name: "image.bin"}
			looked := 0
			opts := o()
			failing(opts, onOp(func(op errorfs.Op) *errorfs.Fault {
				if l != nil && op.Kind == vfs.Write && filepath.Base(op.Name) == "image.bin" {
					looked++
					for p := range 6 {
						if got := l.Bytes()[p*page]; got != 1 {
							t.Errorf("page %d reads %d before its image is written", p, got)
						}
					}
				}
				return bad.Inject(op)
			}))
			l = nil
			l = open(t, dir, opts)
			if err := l.DirtyAll(); err != nil {
				t.Fatal(err)
			}
			bad.set(true)
			save(t, l)
			if err := l.Wait(ctx); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Wait: %v", err)
			}
			bad.set(false)
			if err := l.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if looked < 2 {
				t.Fatalf("the image was written %d times", looked)
			}
			shut(t, l)
		})
	}
}

// onOp is an injector made of a function.
type onOp func(errorfs.Op) *errorfs.Fault

func (f onOp) Inject(op errorfs.Op) *errorfs.Fault { return f(op) }

// switchable lets operations of one kind on one file fail while it is on.
type switchable struct {
	mu   sync.Mutex
	on   bool
	err  error
	kind vfs.Kind
	name string // base name; "" for any
}

func (s *switchable) set(on bool) {
	s.mu.Lock()
	s.on = on
	s.mu.Unlock()
}

func (s *switchable) Inject(op errorfs.Op) *errorfs.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on || op.Kind != s.kind || s.name != "" && filepath.Base(op.Name) != s.name {
		return nil
	}
	return &errorfs.Fault{Err: s.err}
}

// The size of the arena may change from run to run, a pending patch or not:
// nothing on disk depends on it.
func TestAnotherArenaSize(t *testing.T) {
	dir := t.TempDir()
	bad := &switchable{err: syscall.EIO, kind: vfs.Sync, name: "image.bin"}
	l, err := loom.Open(dir, &loom.Options{Size: 64 * page, FS: errorfs.New(vfs.OS, bad)})
	if err != nil {
		t.Fatal(err)
	}
	l.Bytes()[9*page] = 9
	bad.set(true)
	save(t, l)
	if err := l.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Close over a failed apply: %v", err)
	}
	if _, err := loom.Open(dir, &loom.Options{Size: 8 * page}); !errors.Is(err, loom.ErrMismatch) {
		t.Fatalf("too small an arena for the pending patch: %v", err)
	}
	for _, pages := range []int64{10, 1000, 16} {
		l, err := loom.Open(dir, &loom.Options{Size: pages * page, VerifyFull: true})
		if err != nil {
			t.Fatal(err)
		}
		if l.Bytes()[9*page] != 9 {
			t.Fatalf("an arena of %d pages holds %d", pages, l.Bytes()[9*page])
		}
		shut(t, l)
	}
}
