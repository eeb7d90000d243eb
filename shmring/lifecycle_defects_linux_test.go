package shmring

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"loomstore/internal/mapping"
)

func TestD13EOFOnFullRing(t *testing.T) {
	creator, opener := connect(t, nil)
	if err := creator.TryPush(message(MaxMessage, 1)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := creator.CloseWrite(short); err != context.Canceled {
		t.Fatalf("close with a full ring: %v", err)
	}
	ended := make(chan error)
	go func() { ended <- creator.CloseWrite(testContext(t)) }()
	if n, err := opener.Pop(testContext(t), make([]byte, MaxMessage)); n != MaxMessage || err != nil {
		t.Fatalf("pop: %d, %v", n, err)
	}
	_, err := opener.Pop(testContext(t), nil)
	wantEOF(t, opener.Consumer, err)
	if err := <-ended; err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestD14OneEOFLast(t *testing.T) {
	creator, opener := connect(t, nil)
	if err := creator.CloseWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := creator.CloseWrite(t.Context()); err != ErrClosed {
		t.Errorf("second end: %v", err)
	}
	if err := creator.TryPush([]byte{1}); err != ErrClosed {
		t.Errorf("push behind the end: %v", err)
	}
	// A peer that sends more all the same is not listened to.
	raw := upstreamRing{view: creator.Producer.view, ring: &upstream{}}
	if err := raw.tryPush(append(append([]byte(nil), dataHeader...), 'x')); err != nil {
		t.Fatal(err)
	}
	_, err := opener.TryPop(make([]byte, 10))
	wantEOF(t, opener.Consumer, err)
	// Half-closed: the other direction goes on.
	if err := opener.Push(t.Context(), []byte("back")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := creator.TryPop(buf); err != nil || string(buf[:n]) != "back" {
		t.Errorf("pop after CloseWrite: %q, %v", buf[:n], err)
	}
}

func TestD15NoAllocation(t *testing.T) {
	creator, opener := connect(t, nil)
	ctx := testContext(t)
	m, buf, ends := message(64, 1), make([]byte, 65536), make([]int, 8)
	batch := [][]byte{m, m, m, m}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		must(creator.Push(ctx, m))
		_, err := opener.Pop(ctx, buf)
		must(err)
		_, err = creator.PushBatch(ctx, batch)
		must(err)
		_, err = opener.PopBatch(ctx, buf, ends)
		must(err)
		head, _, err := creator.Reserve(ctx, 64)
		must(err)
		head[0] = 1
		must(creator.Commit())
		_, _, err = opener.Peek(ctx)
		must(err)
		must(opener.Release())
		if _, err := opener.TryPop(buf); err != ErrEmpty {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for creator.TryPush(m) == nil {
	}
	if n := testing.AllocsPerRun(1000, func() {
		if err := creator.TryPush(m); err != ErrFull {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a full ring", n)
	}
}

// An idle end sleeps on its word, and is woken: not by a look now and then.
func TestD16IdleSleeps(t *testing.T) {
	creator, opener := connect(t, nil)
	onlyWoken(creator, opener)
	ctx := testContext(t)
	asleep := func(e *end) {
		for e.control.view.Uint32(e.own).Load() == 0 {
			runtime.Gosched()
		}
	}
	popped := make(chan error)
	go func() {
		_, err := opener.Pop(ctx, make([]byte, 8))
		popped <- err
	}()
	asleep(&opener.Consumer.end)
	if err := creator.Push(ctx, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := <-popped; err != nil {
		t.Fatal(err)
	}
	if err := creator.Push(ctx, message(MaxMessage, 1)); err != nil {
		t.Fatal(err)
	}
	pushed := make(chan error)
	go func() { pushed <- creator.Push(ctx, []byte{2}) }()
	asleep(&creator.Producer.end)
	if _, err := opener.Pop(ctx, make([]byte, MaxMessage)); err != nil {
		t.Fatal(err)
	}
	if err := <-pushed; err != nil {
		t.Fatal(err)
	}
}

// onlyWoken leaves waking as the only way out of a sleep, where the kernel has
// the barrier that this relies on.
func onlyWoken(pairs ...*ends) {
	if !mapping.RegisterBarrier() || !mapping.Barrier() {
		return
	}
	for _, e := range pairs {
		e.Producer.longest, e.Consumer.longest = time.Hour, time.Hour
	}
}

func TestD17StaleNames(t *testing.T) {
	t.Run("left by a dead creator", func(t *testing.T) {
		name := uniqueName(t)
		left, err := Create(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		die(left)
		pair, err := Create(name, nil)
		again := claim(t, pair, err)
		p, err := Open(name, nil)
		opener := claim(t, p, err)
		if err := again.TryPush([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := opener.TryPop(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		left.Close() // must not remove what is not its own
		if inode(path(name, pushSuffix)) == 0 {
			t.Error("the dead creator's close removed the new pair")
		}
	})
	t.Run("only some of them", func(t *testing.T) {
		for _, gone := range [][]string{{pushSuffix}, {popSuffix}, {pushSuffix, popSuffix}} {
			name := uniqueName(t)
			left, err := Create(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			die(left)
			for _, suffix := range gone {
				if err := os.Remove(path(name, suffix)); err != nil {
					t.Fatal(err)
				}
			}
			pair, err := Create(name, nil)
			claim(t, pair, err)
		}
	})
	t.Run("of a live creator", func(t *testing.T) {
		name := uniqueName(t)
		pair, err := Create(name, nil)
		claim(t, pair, err)
		if _, err := Create(name, nil); !errors.Is(err, fs.ErrExist) || !errors.Is(err, ErrOwned) {
			t.Errorf("second Create: %v", err)
		}
		if _, err := Open(name, nil); err != nil {
			t.Errorf("Open after it: %v", err)
		}
	})
	t.Run("of an unknown owner", func(t *testing.T) {
		name := uniqueName(t)
		upstreamCreate(t, name)
		if _, err := Create(name, nil); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("Create over upstream's pair: %v", err)
		}
		for _, suffix := range []string{pushSuffix, popSuffix} {
			if inode(path(name, suffix)) == 0 {
				t.Errorf("%s is gone", suffix)
			}
		}
		if inode(path(name, controlSuffix)) != 0 {
			t.Error("the control block of the pair that was not made stayed")
		}
	})
	t.Run("opened", func(t *testing.T) {
		name := uniqueName(t)
		left, err := Create(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		die(left)
		if _, err := Open(name, nil); !errors.Is(err, ErrPeerDead) {
			t.Errorf("Open of a dead creator's pair: %v", err)
		}
	})
}
