package loom_test

import (
	"context"
	"errors"
	"testing"

	"loomstore/fault"
	"loomstore/loom"
)

// TestRollbackUnderTheGuard: the low watermark went down, the guard page came
// to stand on bytes of the last checkpoint, and Rollback brings them back too.
func TestRollbackUnderTheGuard(t *testing.T) {
	const pages, middle = size / page, (100 + size/page) / 2
	for _, kind := range []fault.Kind{fault.Uffd, fault.Mprotect, fault.Cow, fault.Compare} {
		t.Run(string(kind), func(t *testing.T) {
			l := open(t, t.TempDir(), &loom.Options{Tracker: kind, Guard: true})
			if err := l.SetWatermarks((pages-10)*page, size); err != nil {
				t.Fatal(err)
			}
			l.Bytes()[middle*page] = 1
			save(t, l)
			l.Bytes()[middle*page] = 2
			if err := errors.Join(l.SetWatermarks(100*page, size), l.Ward(), l.Rollback()); err != nil {
				t.Fatal(err)
			}
			if got := l.Bytes()[middle*page]; got != 1 {
				t.Errorf("the checkpoint has 1, memory %d", got)
			}
			shut(t, l)
		})
	}
}

// TestRollbackBehindAFailure: the watermarks of a checkpoint that failed, or of
// a dry run, are not what Rollback goes back to.
func TestRollbackBehindAFailure(t *testing.T) {
	for _, o := range []*loom.Options{{}, {DryRun: true}} {
		l := open(t, t.TempDir(), o)
		if !o.DryRun {
			if err := l.SetWatermarks(20*page, size-page); err != nil {
				t.Fatal(err)
			}
			l.Bytes()[0] = 1
			save(t, l)
		}
		l.Bytes()[0] = 2
		if err := l.SetWatermarks(4*page, 8*page); err != nil {
			t.Fatal(err)
		}
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := l.Checkpoint(done); !o.DryRun && !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if err := l.Rollback(); err != nil {
			t.Fatal(err)
		}
		// Free up to where the checkpoint, or the new store, has it.
		if l.Bytes()[10*page] = 3; !o.DryRun {
			if c := save(t, l); c.Low != 20*page || c.Pages != 1 {
				t.Errorf("%+v behind Rollback", c)
			}
		}
		shut(t, l)
	}
}

// TestWardBeforeWatermarks: as long as nobody says what is free, a page that
// was stored to is saved wherever it is, and no guard page stands on it.
func TestWardBeforeWatermarks(t *testing.T) {
	const middle = size / page / 2
	l := open(t, t.TempDir(), &loom.Options{Guard: true})
	l.Bytes()[middle*page] = 1
	if err := l.Ward(); err != nil {
		t.Fatal(err)
	}
	if c := save(t, l); c.Pages != 1 {
		t.Errorf("%d pages saved, want the one that was stored to", c.Pages)
	}
	shut(t, l)
}
