package vmbusring

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"

	"loomstore/vmbusring/signal"
)

func newPair(t *testing.T, size int) (guest, host *Channel) {
	t.Helper()
	guest, host, err := Pair(size, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		guest.Close()
		host.Close()
	})
	return guest, host
}

// TestChannelBothWays keeps two full-duplex ends busy through the smallest
// ring, so that both data and room are waited for all the time.
func TestChannelBothWays(t *testing.T) {
	guest, host := newPair(t, PageSize)
	const packets = 10_000
	var wg sync.WaitGroup
	for _, c := range []*Channel{guest, host} {
		wg.Go(func() {
			var number [700]byte
			for i := range packets {
				binary.LittleEndian.PutUint64(number[:], uint64(i))
				p := Packet{Type: InBand, Payload: number[:8+i%600]}
				if n, err := c.Send(t.Context(), &p); n != 1 || err != nil {
					t.Errorf("send %d: %d, %v", i, n, err)
					return
				}
			}
		})
		wg.Go(func() {
			ps := make([]Packet, 8)
			for i := 0; i < packets; {
				n, err := c.Receive(t.Context(), ps)
				if err != nil {
					t.Errorf("receive %d: %v", i, err)
					return
				}
				for _, p := range ps[:n] {
					if got := binary.LittleEndian.Uint64(p.Payload); got != uint64(i) || len(p.Payload) != round8(8+i%600) {
						t.Errorf("packet %d is %d with %d bytes", i, got, len(p.Payload))
						return
					}
					i++
				}
			}
		})
	}
	wg.Wait()
	if s := guest.Stats(); s.Sent == 0 || s.Received == 0 {
		t.Errorf("stats: %+v", s)
	}
}

// TestMaskIsNotAssumed: some kernels set the mask with every event
// (CVE-2025-40048). A reader that is woken must still get later signals.
func TestMaskIsNotAssumed(t *testing.T) {
	in, out := newFlat(t, PageSize), newFlat(t, PageSize)
	a, b := signal.NewLocal()
	kernel := &maskingSignal{Local: a, mask: in.control.InterruptMask}
	c, err := NewChannel(in, out, kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := NewWriter(in)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	ps := make([]Packet, 1)
	for range 100 {
		go func() {
			_, err := c.Receive(t.Context(), ps)
			got <- err
		}()
		if err := w.Append(&Packet{Type: InBand}); err != nil {
			t.Fatal(err)
		}
		if w.Commit() {
			if err := b.Notify(); err != nil {
				t.Fatal(err)
			}
		}
		// An event without a packet, too: it must be ignored.
		if err := b.Notify(); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	}
}

// maskingSignal masks interrupts with every event, as such kernels do.
type maskingSignal struct {
	*signal.Local
	mask interface{ Store(uint32) }
}

func (m *maskingSignal) Wait(ctx context.Context) error {
	err := m.Local.Wait(ctx)
	m.mask.Store(1)
	return err
}

// TestReaderWithoutPendingSendSize: an end that does not say it honours a
// pending send size may never signal for room; the sender looks by itself.
func TestReaderWithoutPendingSendSize(t *testing.T) {
	in, out := newFlat(t, PageSize), newFlat(t, PageSize)
	a, _ := signal.NewLocal()
	c, err := NewChannel(in, out, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := NewReader(out, 0)
	if err != nil {
		t.Fatal(err)
	}
	big := &Packet{Type: InBand, Payload: make([]byte, 3000)}
	sent := make(chan error)
	go func() {
		_, err := c.Send(t.Context(), big, big, big)
		sent <- err
	}()
	var p Packet
	for n := 0; n < 3; {
		if r.Read(&p) == nil {
			r.Commit() // and no signal
			n++
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if pending := Inspect(out).PendingSendSize; pending != 0 {
		t.Errorf("pending send size %d after the last write (defect 9)", pending)
	}
}

func TestContextEndsWaits(t *testing.T) {
	guest, host := newPair(t, PageSize)
	ctx, cancel := context.WithCancel(t.Context())
	big := &Packet{Type: InBand, Payload: make([]byte, 3000)}
	ended := make(chan error)
	go func() {
		_, err := guest.Receive(ctx, make([]Packet, 1))
		ended <- err
	}()
	go func() { // takes its turn behind the first one
		_, err := guest.Receive(ctx, make([]Packet, 1))
		ended <- err
	}()
	go func() {
		n, err := guest.Send(ctx, big, big)
		if n != 1 {
			t.Errorf("%d packets sent, expected 1", n)
		}
		ended <- err
	}()
	for Inspect(host.in.mem).PendingSendSize == 0 {
		runtime.Gosched() // until the second packet waits for room
	}
	cancel()
	for range 3 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, expected cancelled", err)
		}
	}
	if err := guest.Err(); err != nil {
		t.Errorf("the channel has ended: %v", err)
	}
	if pending := Inspect(host.in.mem).PendingSendSize; pending != 0 {
		t.Errorf("pending send size %d is left behind", pending)
	}
}

// TestCorruptionEndsChannel: it is named once, and for ever after, and the
// memory is released.
func TestCorruptionEndsChannel(t *testing.T) {
	in, out := newFlat(t, PageSize), newFlat(t, PageSize)
	a, b := signal.NewLocal()
	released := make(chan struct{})
	c, err := NewChannel(in, out, a, &Options{Release: func() error { close(released); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := c.Receive(t.Context(), make([]Packet, 1))
		waiting <- err
	}()
	in.control.In.Store(12)
	if err := b.Notify(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-waiting, []Code{CodeIndex})
	<-released
	_, err = c.Send(t.Context(), &Packet{Type: InBand})
	wantCode(t, err, []Code{CodeIndex})
	wantCode(t, c.Err(), []Code{CodeIndex})
	<-c.Done()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseWaitsForUsers: the memory is released once, when the last call has
// left it, and everybody who waits is told.
func TestCloseWaitsForUsers(t *testing.T) {
	in, out := newFlat(t, PageSize), newFlat(t, PageSize)
	a, _ := signal.NewLocal()
	var mu sync.Mutex
	inUse, releases := 0, 0
	c, err := NewChannel(in, out, a, &Options{Release: func() error {
		mu.Lock()
		defer mu.Unlock()
		if inUse != 0 {
			t.Errorf("released with %d users", inUse)
		}
		releases++
		return errors.New("from release")
	}})
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	go func() {
		_ = c.consume(t.Context(), nil, func(*Reader) error {
			mu.Lock()
			inUse++
			mu.Unlock()
			close(entered)
			<-leave
			mu.Lock()
			inUse--
			mu.Unlock()
			return nil
		})
	}()
	<-entered
	waiting := make(chan error)
	go func() {
		_, err := c.Receive(t.Context(), make([]Packet, 1))
		waiting <- err
	}()
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	if err := <-waiting; !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, expected closed", err)
	}
	select {
	case <-closed:
		t.Error("closed under a user")
	default:
	}
	close(leave)
	if err := <-closed; err == nil || err.Error() != "from release" {
		t.Errorf("close: %v", err)
	}
	if c.Close(); releases != 1 {
		t.Errorf("released %d times", releases)
	}
}

// TestSignalFailureEndsChannel: a revoked device, for a start.
func TestSignalFailureEndsChannel(t *testing.T) {
	in, out := newFlat(t, PageSize), newFlat(t, PageSize)
	broken := &brokenSignal{fail: make(chan struct{})}
	c, err := NewChannel(in, out, broken, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	waiting := make(chan error)
	go func() {
		_, err := c.Receive(context.Background(), make([]Packet, 1))
		waiting <- err
	}()
	close(broken.fail)
	if err := <-waiting; !errors.Is(err, signal.ErrRevoked) {
		t.Errorf("%v, expected revoked", err)
	}
	if _, err := c.Send(t.Context(), &Packet{Type: InBand}); !errors.Is(err, signal.ErrRevoked) {
		t.Errorf("%v, expected revoked", err)
	}
	if in := Inspect(out).In; in != 0 {
		t.Errorf("the ring of a revoked device was written: in is %d", in)
	}
}

type brokenSignal struct{ fail chan struct{} }

func (b *brokenSignal) Notify() error              { return nil }
func (b *brokenSignal) Wait(context.Context) error { <-b.fail; return signal.ErrRevoked }
func (b *brokenSignal) Close() error               { return nil }

func TestChannelAllocations(t *testing.T) {
	guest, host := newPair(t, 65536)
	p := &Packet{Type: InBand, Payload: make([]byte, 100)}
	ps := make([]Packet, 4)
	ctx := context.Background()
	round := func() {
		for range 4 {
			if _, err := guest.Send(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := host.Receive(ctx, ps); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, round); n > 0 {
		t.Errorf("%v allocations for four packets", n)
	}
}
