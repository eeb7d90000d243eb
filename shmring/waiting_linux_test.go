package shmring

import (
	"context"
	"errors"
	"os"
	"testing"
)

// Close ends every call that waits, while the peer lives.
func TestCloseEndsWaits(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, e *ends) error{
		"Pop": func(ctx context.Context, e *ends) error {
			_, err := e.Pop(ctx, make([]byte, 1))
			return err
		},
		"PopBatch": func(ctx context.Context, e *ends) error {
			_, err := e.PopBatch(ctx, make([]byte, 1), make([]int, 1))
			return err
		},
		"Peek": func(ctx context.Context, e *ends) error {
			_, _, err := e.Peek(ctx)
			return err
		},
		"Push": func(ctx context.Context, e *ends) error { return e.Push(ctx, []byte{1}) },
		"PushBatch": func(ctx context.Context, e *ends) error {
			_, err := e.PushBatch(ctx, [][]byte{{1}})
			return err
		},
		"Reserve": func(ctx context.Context, e *ends) error {
			_, _, err := e.Reserve(ctx, 1)
			return err
		},
		"CloseWrite": func(ctx context.Context, e *ends) error { return e.CloseWrite(ctx) },
		"Drain":      func(ctx context.Context, e *ends) error { return e.Drain(ctx) },
	} {
		for _, o := range []*Options{nil, {Plain: true}} {
			creator, opener := connect(t, o)
			if err := creator.TryPush(message(MaxMessage, 1)); err != nil {
				t.Fatal(err)
			}
			bounded, cancel := context.WithCancel(testContext(t))
			waits := 0
			ctx := waitContext{bounded, func() {
				if waits++; waits > 1 {
					cancel()
					return
				}
				if err := creator.Pair.Close(); err != nil {
					t.Error(err)
				}
			}}
			if err := call(ctx, creator); err != ErrClosed {
				t.Errorf("%s, %+v: %v", name, o, err)
			}
			cancel()
			opener.Pair.Close()
		}
	}
}

// A second opener is turned away also while the first is still attaching.
func TestTwoOpenersAtOnce(t *testing.T) {
	name := uniqueName(t)
	pair, err := Create(name, nil)
	claim(t, pair, err)
	first, err := os.OpenFile(path(name, controlSuffix), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if ok, err := lock(first, opener); !ok || err != nil {
		t.Fatalf("lock: %v, %v", ok, err)
	}
	if _, err := Open(name, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("second opener: %v", err)
	}
}

// The end of the stream does not give back what was peeked before it: its
// bytes are still being read.
func TestEndBehindPeeked(t *testing.T) {
	p, c, view := heapRing(t, 0)
	if err := p.TryPush(message(10, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.CloseWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Peek(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Peek(t.Context())
	wantEOF(t, c, err)
	if at := view.Uint64(popAt).Load(); at != 0 {
		t.Errorf("pop_offset %d before Release", at)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if at, end := view.Uint64(popAt).Load(), view.Uint64(pushAt).Load(); at != end {
		t.Errorf("pop_offset %d after Release, want %d", at, end)
	}
}
