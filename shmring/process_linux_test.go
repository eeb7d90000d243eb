package shmring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"loomstore/internal/mapping"
	"loomstore/internal/ringload"
)

// attach creates or opens a pair in a process of its own.
func attach(first bool, name string, o *Options) (*Pair, *Producer, *Consumer, error) {
	make := Open
	if first {
		make = Create
	}
	pair, err := make(name, o)
	if err != nil {
		return nil, nil, nil, err
	}
	p, _ := pair.Producer()
	c, _ := pair.Consumer()
	return pair, p, c, nil
}

func init() {
	// source NAME SEED LO HI N: opens NAME and pushes N messages and the end.
	roles["source"] = func(args []string) error {
		var n [4]int
		for i := range n {
			n[i], _ = strconv.Atoi(args[i+1])
		}
		pair, p, _, err := attach(false, args[0], nil)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience())
		defer cancel()
		if err := pour(ctx, p, ringload.New(uint64(n[0]), n[1], n[2]), n[3]); err != nil {
			return err
		}
		if err := p.CloseWrite(ctx); err != nil {
			return err
		}
		return errors.Join(p.Drain(ctx), pair.Close())
	}
	// victim SIDE NAME: creates or opens NAME, says so, and pushes and pops for
	// ever until it is killed.
	roles["victim"] = func(args []string) error {
		pair, p, c, err := attach(args[0] == "create", args[1], nil)
		if err != nil {
			return err
		}
		defer pair.Close()
		fmt.Println("ready")
		go churnOut(context.Background(), p, 1)
		return churnIn(context.Background(), c)
	}
}

// patience is what a process gives the other: longer in a soak.
func patience() (d time.Duration) {
	if soak {
		return 2 * time.Hour
	}
	return hangs
}

// churnOut pushes messages of all sizes in all ways until that fails.
func churnOut(ctx context.Context, p *Producer, seed uint64) error {
	g := ringload.New(seed, 1, 3000)
	for i := 0; ; i++ {
		m := g.Next()
		var err error
		switch i % 3 {
		case 0:
			err = p.Push(ctx, m)
		case 1:
			_, err = p.PushBatch(ctx, [][]byte{m, m[:1+len(m)/2], m})
		default:
			var head, tail []byte
			if head, tail, err = p.Reserve(ctx, len(m)); err == nil {
				err = errors.Join(p.guardedCopy(head, tail, m), p.Commit())
			}
		}
		if err != nil {
			return err
		}
	}
}

// guardedCopy fills a reservation: the peer may truncate the object below it.
func (p *Producer) guardedCopy(head, tail, m []byte) error {
	err := mapping.Guarded(p.memory.Bytes(), func() error {
		copy(tail, m[copy(head, m):])
		return nil
	})
	if err != nil {
		return errors.Join(ErrCorrupt, err)
	}
	return nil
}

// churnIn pops them.
func churnIn(ctx context.Context, c *Consumer) error {
	buf, ends := make([]byte, 65536), make([]int, 16)
	for i := 0; ; i++ {
		var err error
		switch i % 3 {
		case 0:
			_, err = c.Pop(ctx, buf)
		case 1:
			_, err = c.PopBatch(ctx, buf, ends)
		default:
			if _, _, err = c.Peek(ctx); err == nil {
				err = c.Release()
			}
		}
		if err != nil {
			return err
		}
	}
}

// Two processes, every message compared with the one sent.
func TestTwoProcesses(t *testing.T) {
	n := 100_000
	if soak {
		n = 10_000_000
	}
	if testing.Short() || raceDetector {
		n = 2_000
	}
	name := uniqueName(t)
	pair, err := Create(name, nil)
	here := claim(t, pair, err)
	source := start(t, "source", name, 42, 1, MaxMessage, n)
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	defer cancel()
	if err := sieve(ctx, here.Consumer, ringload.New(42, 1, MaxMessage), n); err != nil {
		t.Fatal(err)
	}
	_, err = here.Pop(ctx, nil)
	wantEOF(t, here.Consumer, err)
	source.finish(t)
}

// Small messages, both directions at once, in one process: more switches and
// sleeps than two processes make.
func TestBothWaysAtOnce(t *testing.T) {
	for _, o := range []*Options{nil, {Plain: true}} {
		creator, opener := connect(t, o)
		onlyWoken(creator, opener) // a wake-up that gets lost is a hang
		ctx := testContext(t)
		const n = 20_000
		errs := make(chan error, 4)
		for i, e := range []*ends{creator, opener} {
			go func() {
				err := pour(ctx, e.Producer, ringload.New(uint64(i), 1, 700), n)
				errs <- errors.Join(err, e.CloseWrite(ctx))
			}()
			go func() {
				err := sieve(ctx, e.Consumer, ringload.New(uint64(1-i), 1, 700), n)
				if err == nil {
					if _, err = e.Pop(ctx, nil); err == io.EOF {
						err = nil
					}
				}
				errs <- err
			}()
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Errorf("%+v: %v", o, err)
			}
		}
	}
}

// Against the original's way of doing things, on either side, in release and
// debug builds.
func TestAgainstUpstream(t *testing.T) {
	for _, weCreate := range []bool{true, false} {
		for _, asserts := range []bool{true, false} {
			t.Run(fmt.Sprintf("creating=%v/debug=%v", weCreate, asserts), func(t *testing.T) {
				name := uniqueName(t)
				var u *upstream
				var us *ends
				if weCreate {
					p, err := Create(name, nil)
					us = claim(t, p, err)
					u = upstreamOpen(t, name)
				} else {
					u = upstreamCreate(t, name)
					p, err := Open(name, nil)
					us = claim(t, p, err)
				}
				u.asserts = asserts
				const n = 5_000
				ctx := testContext(t)
				errs := make(chan error, 2)
				go func() { // upstream's sender
					g := ringload.New(1, 1, 9000)
					for range n {
						if err := u.send(g.Next(), runtime.Gosched); err != nil {
							errs <- err
							return
						}
					}
					errs <- u.send(nil, runtime.Gosched)
				}()
				go func() { // upstream's receiver
					g, buf := ringload.New(2, 1, 9000), make([]byte, 65536)
					for i := range n {
						got, err := u.receive(buf, runtime.Gosched)
						if err == nil && !bytes.Equal(got, g.Next()) {
							err = fmt.Errorf("upstream's message %d differs", i)
						}
						if err != nil {
							errs <- err
							return
						}
					}
					got, err := u.receive(buf, runtime.Gosched)
					if err == nil && got != nil {
						err = errors.New("upstream sees no end of stream")
					}
					errs <- err
				}()
				sent := make(chan error, 1)
				go func() {
					err := pour(ctx, us.Producer, ringload.New(2, 1, 9000), n)
					sent <- errors.Join(err, us.CloseWrite(ctx))
				}()
				if err := sieve(ctx, us.Consumer, ringload.New(1, 1, 9000), n); err != nil {
					t.Fatal(err)
				}
				_, err := us.Pop(ctx, nil)
				wantEOF(t, us.Consumer, err)
				for range 2 {
					if err := <-errs; err != nil {
						t.Error(err)
					}
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A plain peer that closes in order takes the names with it.
func TestPlainPeerDrops(t *testing.T) {
	name := uniqueName(t)
	u := upstreamCreate(t, name)
	p, err := Open(name, nil)
	us := claim(t, p, err)
	if err := u.send([]byte("last"), runtime.Gosched); err != nil {
		t.Fatal(err)
	}
	u.drop()
	buf := make([]byte, 8)
	if n, err := us.Pop(testContext(t), buf); err != nil || string(buf[:n]) != "last" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if _, err := us.Pop(testContext(t), buf); err != ErrPeerGone {
		t.Fatalf("pop from a peer that is gone: %v", err)
	}
}

// kill -9 of either end, at random moments.
func TestKill(t *testing.T) {
	rounds := 50
	if soak {
		rounds = 2000
	}
	if testing.Short() || raceDetector {
		rounds = 6
	}
	rng := rand.New(rand.NewPCG(1, 2))
	name := uniqueName(t)
	for round := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), hangs)
		var us *ends
		var victim *child
		if round%2 == 0 {
			p, err := Create(name, nil)
			us = claim(t, p, err)
			victim = start(t, "victim", "open", name)
			victim.line(t)
		} else {
			victim = start(t, "victim", "create", name)
			victim.line(t)
			p, err := Open(name, nil)
			us = claim(t, p, err)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- churnOut(ctx, us.Producer, 7) }()
		buf := make([]byte, MaxMessage)
		for range rng.IntN(3000) {
			if _, err := us.Pop(ctx, buf); err != nil {
				t.Fatalf("round %d: before the kill: %v", round, err)
			}
		}
		for range rng.IntN(100_000) { // not at the same place of a message every time
			runtime.KeepAlive(buf)
		}
		victim.kill()
		if err := churnIn(ctx, us.Consumer); !errors.Is(err, ErrPeerDead) {
			t.Fatalf("round %d: consumer after the kill: %v", round, err)
		}
		if err := <-pushed; !errors.Is(err, ErrPeerDead) {
			t.Fatalf("round %d: producer after the kill: %v", round, err)
		}
		cancel()
		if round%3 == 0 { // a new pair in spite of the old one, or after it
			us.Pair.Close()
		}
		again, err := Create(name, nil)
		if round%2 == 0 && round%3 != 0 { // our own is still there
			if err == nil {
				t.Fatalf("round %d: created over a live pair", round)
			}
			us.Pair.Close()
			again, err = Create(name, nil)
		}
		if err != nil {
			t.Fatalf("round %d: new pair: %v", round, err)
		}
		other := claim(t, again, nil)
		p, err := Open(name, nil)
		check := claim(t, p, err)
		if err := other.TryPush([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if n, err := check.TryPop(buf); err != nil || string(buf[:n]) != "new" {
			t.Fatalf("round %d: new pair: %q, %v", round, buf[:n], err)
		}
		for _, e := range []*ends{check, other, us} {
			e.Pair.Close()
		}
	}
}
