package signal

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"loomstore/internal/mapping"
)

type waker interface {
	Notify() error
	Wait(context.Context) error
	Close() error
}

// testPair holds both ends of a signal to what the package promises.
func testPair(t *testing.T, a, b waker) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	// Notify first: it is not lost, and many become one.
	for range 100_000 {
		if err := a.Notify(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	// Then in turns, as both ends of a ring do.
	done := make(chan error)
	go func() {
		for range 1000 {
			if err := b.Wait(ctx); err != nil {
				done <- err
				return
			}
			if err := b.Notify(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 1000 {
		if err := a.Notify(); err != nil {
			t.Fatal(err)
		}
		if err := a.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { done <- a.Wait(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: %v", err)
	}
	// A cancelled wait leaves nothing behind.
	if err := b.Notify(); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(context.Background()); err != nil {
		t.Errorf("wait after a cancelled one: %v", err)
	}
	for _, end := range []waker{a, b} {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLocal(t *testing.T) {
	a, b := NewLocal()
	testPair(t, a, b)
}

func TestEventFD(t *testing.T) {
	a, b, err := NewEventFD()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	testPair(t, a, b)
}

// TestEventFDFull: a peer can fill the counter that we write; Notify must not
// wait for it to be read.
func TestEventFDFull(t *testing.T) {
	a, b, err := NewEventFD()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	_, peer := a.Files()
	if _, err := peer.Write(binary.NativeEndian.AppendUint64(nil, 1<<64-2)); err != nil {
		t.Fatal(err)
	}
	if err := a.Notify(); err != nil {
		t.Error(err)
	}
}

// device is a UIO device: what Read and Write return, and what was written.
type device struct {
	read, write error
	short       bool
	written     []byte
}

func (d *device) Read(b []byte) (int, error) {
	if d.read != nil {
		return 0, d.read
	}
	if d.short {
		return 2, nil
	}
	return len(b), nil
}

func (d *device) Write(b []byte) (int, error) {
	d.written = append(d.written, b...)
	return len(b), d.write
}

func (d *device) Close() error                    { return nil }
func (d *device) SetReadDeadline(time.Time) error { return nil }

func TestUIO(t *testing.T) {
	good := &device{}
	u := NewUIO(good)
	if err := u.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := u.Notify(); err != nil {
		t.Error(err)
	}
	if len(good.written) != 4 || binary.NativeEndian.Uint32(good.written) != 1 {
		t.Errorf("wrote % x, expected a word of 1", good.written)
	}
	if err := NewUIO(&device{read: syscall.EIO}).Wait(t.Context()); !errors.Is(err, ErrRevoked) || !errors.Is(err, syscall.EIO) {
		t.Errorf("revoked: %v", err)
	}
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EINVAL} {
		if err := NewUIO(&device{write: errno}).Notify(); !errors.Is(err, ErrRevoked) {
			t.Errorf("revoked: %v", err)
		}
	}
	if err := NewUIO(&device{write: syscall.EBADF}).Notify(); err == nil || errors.Is(err, ErrRevoked) {
		t.Errorf("another error: %v", err)
	}
	if err := NewUIO(&device{short: true}).Wait(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("two bytes: %v", err)
	}
}

func TestMonitor(t *testing.T) {
	page := mapping.NewHeap(4096)
	page.Uint32(8).Store(1 << 31) // another channel's
	mine, _ := NewLocal()
	for id, want := range map[uint32][2]uint32{0: {8, 1}, 3: {8, 1 << 3}, 32: {16, 1}, 127: {32, 1 << 31}} {
		m, err := NewMonitor(page.Bytes(), id, mine)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Notify(); err != nil {
			t.Fatal(err)
		}
		if page.Uint32(int(want[0])).Load()&want[1] == 0 {
			t.Errorf("id %d: bit %#x of the word at %d is not set", id, want[1], want[0])
		}
	}
	if got := page.Uint32(8).Load(); got != 1<<31|1<<3|1 {
		t.Errorf("first word is %#x: other channels' bits were lost", got)
	}
	if _, err := NewMonitor(page.Bytes(), 128, mine); err == nil {
		t.Error("id 128 was accepted")
	}
	if _, err := NewMonitor(page.Bytes()[:16], 64, mine); err == nil {
		t.Error("a page without the word was accepted")
	}
}
