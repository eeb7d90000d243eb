package shmring

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A peer that writes whatever it likes wherever it likes, and now and then
// cuts an object short, gets errors out of us: no panic, no hang, no message
// longer than one can be.
func TestHostilePeer(t *testing.T) {
	lasts := 5 * time.Second
	if soak {
		lasts = 10 * time.Minute
	}
	if testing.Short() {
		lasts = time.Second
	}
	rng := rand.New(rand.NewPCG(3, 4))
	end := time.Now().Add(lasts)
	seen := map[string]int{}
	for round := 0; time.Now().Before(end); round++ {
		name := uniqueName(t)
		p, err := Create(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		q, err := Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		us, peer := hold(t, p, nil), hold(t, q, nil)
		ctx, cancel := context.WithTimeout(t.Context(), hangs)
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			vandal(rand.New(rand.NewPCG(rng.Uint64(), 1)), peer, round%4 == 3, &stop)
		}()
		errs := make(chan error, 2)
		bounded, give := context.WithTimeout(ctx, 100*time.Millisecond)
		go func() { errs <- churnOut(bounded, us.Producer, 5) }()
		go func() { errs <- churnIn(bounded, us.Consumer) }()
		for range 2 {
			select {
			case err := <-errs:
				seen[class(t, err)]++
			case <-ctx.Done():
				t.Fatal("an end hangs beyond its context")
			}
		}
		give()
		stop.Store(true)
		<-done
		cancel()
		us.Pair.Close()
		peer.Pair.Close()
		removeObjects(name)
	}
	t.Log(seen)
	if seen["corrupt"] == 0 {
		t.Error("the peer did no damage: nothing was tested")
	}
}

// class accepts the errors that damage may lead to.
func class(t *testing.T, err error) string {
	t.Helper()
	switch {
	case errors.Is(err, ErrCorrupt):
		return "corrupt"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, ErrPeerGone), errors.Is(err, ErrPeerDead):
		return "gone"
	case err == io.EOF:
		return "eof"
	}
	t.Errorf("a hostile peer led to %v", err)
	return "other"
}

// vandal writes into everything that a peer can write to. It also pushes and
// pops in between, so that the ring does not stand still at once.
func vandal(rng *rand.Rand, peer *ends, cut bool, stop *atomic.Bool) {
	in, out, block := peer.Consumer.memory, peer.Producer.memory, peer.control.view
	buf := make([]byte, MaxMessage)
	for i := 0; !stop.Load(); i++ {
		_, _ = peer.TryPop(buf)
		_ = peer.TryPush(buf[:1+rng.IntN(500)])
		if rng.IntN(50) != 0 {
			continue
		}
		if cut && i > 1000 {
			for _, suffix := range []string{pushSuffix, popSuffix, controlSuffix} {
				if rng.IntN(2) == 0 {
					_ = os.Truncate(path(peer.name, suffix), int64(rng.IntN(8192)))
				}
			}
			return
		}
		view := in
		if rng.IntN(2) == 0 {
			view = out
		}
		switch rng.IntN(6) {
		case 0:
			view.Uint64(8 * rng.IntN(2)).Store(uint64(rng.IntN(capacity/2)) * 2)
		case 1:
			view.Uint64(8 * rng.IntN(2)).Store(rng.Uint64() >> rng.IntN(64))
		case 2: // a length where the reader is
			off := uint32(view.Uint64(popAt).Load()) % capacity &^ 1
			view.ReleaseUint16(int(bufferAt+off), uint16(rng.Uint32()))
		case 3:
			view.Uint32(bufferAt + 4*rng.IntN(capacity/4)).Store(rng.Uint32())
		case 4:
			block.Uint32(4 * rng.IntN(controlSize/4)).Store(rng.Uint32() >> rng.IntN(32))
		case 5: // the peer says that it never sleeps, and lies
			block.Uint32(sleeper(party(rng.IntN(2)), rng.IntN(2) == 0)).Store(rng.Uint32())
		}
	}
}
