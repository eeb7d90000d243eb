package vmbusring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

func newBytePipes(t *testing.T, size int) (a, b *BytePipe) {
	t.Helper()
	guest, host := newPair(t, size)
	return NewBytePipe(guest), NewBytePipe(host)
}

// TestByteStream sends streams in writes of all sizes in both directions at
// once and compares what arrives.
func TestByteStream(t *testing.T) {
	for _, size := range []int{PageSize, 65536} {
		a, b := newBytePipes(t, size)
		got := make(chan []byte, 2)
		sent := make([]byte, 1<<20)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		for _, p := range []*BytePipe{a, b} {
			go func() {
				for rest := sent; len(rest) > 0; {
					n := min(1+rand.IntN(9000), len(rest))
					if k, err := p.Write(rest[:n]); k != n || err != nil {
						t.Errorf("write of %d: %d, %v", n, k, err)
					}
					rest = rest[n:]
				}
				if err := p.CloseWrite(); err != nil {
					t.Error(err)
				}
			}()
			go func() {
				all, err := io.ReadAll(p)
				if err != nil {
					t.Error(err)
				}
				got <- all
			}()
		}
		for range 2 {
			if !bytes.Equal(<-got, sent) {
				t.Errorf("ring of %d: the stream arrived changed", size)
			}
		}
	}
}

// TestFIN follows the packet that ends a stream: it stays in the ring behind
// data, is consumed by the read that reports it, and holds for ever.
func TestFIN(t *testing.T) {
	a, b := newBytePipes(t, PageSize)
	if _, err := a.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Write(nil); n != 0 || err != nil {
		t.Fatal(n, err) // no bytes, and no FIN either
	}
	for range 2 {
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	in := func() int {
		c := Inspect(b.channel.in.mem)
		return b.channel.in.distance(int(c.Out), int(c.In))
	}
	buf := make([]byte, 100)
	if n, err := b.Read(buf); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if in() != finSize {
		t.Errorf("%d bytes in the ring behind the data, expected the FIN", in())
	}
	for range 3 {
		if n, err := b.Read(buf); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		if in() != 0 {
			t.Errorf("%d bytes in the ring after the FIN was read", in())
		}
	}
	if _, err := b.Write([]byte("the other way")); err != nil {
		t.Error("the other direction has ended, too:", err)
	}
	if n, err := a.Read(buf); n != 13 || err != nil {
		t.Error(n, err)
	}
}

// TestFINAlwaysFits: writes leave room for it, however full the ring is.
func TestFINAlwaysFits(t *testing.T) {
	a, b := newBytePipes(t, PageSize)
	a.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	n, err := a.Write(make([]byte, 10_000))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Fatal(n, err)
	}
	// What is left is filled byte by byte.
	for {
		a.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		k, err := a.Write([]byte{1})
		n += k
		if err != nil {
			break
		}
	}
	a.SetWriteDeadline(time.Time{})
	if err := a.Close(); err != nil { // CloseWrite and more
		t.Fatal(err)
	}
	all, err := io.ReadAll(b)
	if len(all) != n || err != nil {
		t.Errorf("%d bytes of %d: %v", len(all), n, err)
	}
}

// TestCloseKeepsItsDeadline: Close takes the writers' time away so that it need
// not wait for room. Nobody can give it back to them.
func TestCloseKeepsItsDeadline(t *testing.T) {
	a, _ := newBytePipes(t, PageSize)
	a.channel.sending <- struct{}{} // somebody is writing, and Close has to wait
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	<-a.writeDeadline.expired()
	for _, when := range []time.Time{{}, time.Now().Add(time.Hour)} {
		a.SetWriteDeadline(when)
		a.SetDeadline(when)
		select {
		case <-a.writeDeadline.expired():
		default:
			t.Errorf("writers have until %v while the pipe is being closed", when)
		}
	}
	a.channel.sending.leave()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestCloseEndsWrites: a write that waits for room, or has to wait for its
// turn, ends because the pipe was closed, not because its time was over.
func TestCloseEndsWrites(t *testing.T) {
	a, _ := newBytePipes(t, PageSize)
	ended := make(chan error)
	write := func() {
		_, err := a.Write(make([]byte, 2*PageSize))
		ended <- err
	}
	go write()
	for len(a.channel.sending) == 0 {
		runtime.Gosched()
	}
	go write()
	go func() { ended <- a.CloseWrite() }()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		// CloseWrite has nothing to do if Close has finished the stream.
		if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, expected %v", err, ErrClosed)
		}
	}
}

func TestDeadlines(t *testing.T) {
	a, _ := newBytePipes(t, PageSize)
	var timeout net.Error
	buf := make([]byte, 1)

	a.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := a.Read(buf); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read after the deadline: %v", err)
	}
	a.SetReadDeadline(time.Time{})
	ended := make(chan error)
	go func() {
		_, err := a.Read(buf)
		ended <- err
	}()
	a.SetReadDeadline(time.Now().Add(time.Hour))
	a.SetReadDeadline(time.Now().Add(time.Millisecond)) // of a read that may be waiting
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("waiting read: %v", err)
	}
	a.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := a.ReadContext(ctx, buf)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled read: %v", err)
	}
	go func() {
		_, err := a.WriteContext(t.Context(), make([]byte, 1<<20))
		ended <- err
	}()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write over a close: %v", err)
	}
	if _, err := a.Read(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// TestBytePipeCorruption: the good bytes come first, then the error, and then
// the whole channel is at its end.
func TestBytePipeCorruption(t *testing.T) {
	a, b := newBytePipes(t, PageSize)
	bad := make([]byte, 16)
	binary.LittleEndian.PutUint32(bad, 2) // a partial packet
	binary.LittleEndian.PutUint32(bad[4:], 8)
	if _, err := a.Write([]byte("good")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.channel.Send(t.Context(), &Packet{Type: InBand, Payload: bad}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := b.Read(buf); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	for range 2 {
		_, err := b.Read(buf)
		wantCode(t, err, []Code{CodePipeType})
	}
	_, err := b.Write(buf)
	wantCode(t, err, []Code{CodePipeType})
}

// TestPipeCorruptionSticks: what breaks the pipe protocol ends the reader, too.
// A peer that puts the packet right afterwards is not believed.
func TestPipeCorruptionSticks(t *testing.T) {
	for _, mode := range []PipeMode{PipeByte, PipeMessage, PipeRaw} {
		mem, err := NewFlat(PageSize)
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(mem)
		if err != nil {
			t.Fatal(err)
		}
		header := pipeHeader(3)
		want := CodePipeType
		bad := Packet{Type: InBand, Payload: []byte{2, 0, 0, 0, 3, 0, 0, 0, 'b', 'a', 'd'}}
		if mode == PipeRaw {
			want, bad = CodePipePacket, Packet{Type: Completion}
		}
		if err := w.Append(&bad); err != nil {
			t.Fatal(err)
		}
		w.Commit()
		r, err := NewReader(mem, 0)
		if err != nil {
			t.Fatal(err)
		}
		d, buf := NewPipeDecoder(mode), make([]byte, 100)
		_, err = d.Read(r, buf)
		wantCode(t, err, []Code{want})
		copy(mem.Run(0), []byte{byte(InBand)})
		copy(mem.Run(descriptorSize), header[:])
		_, err = d.Read(r, buf)
		wantCode(t, err, []Code{want})
		wantCode(t, r.Read(&Packet{}), []Code{want})
	}
}

func TestMessagePipe(t *testing.T) {
	guest, host := newPair(t, 65536)
	a, b := NewMessagePipe(guest), NewMessagePipe(host)
	messages := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte{7}, MaxPipeMessage)}
	for _, m := range messages {
		if err := a.WriteMessage(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, MaxPipeMessage)
	var large *MessageTooLargeError
	if _, err := b.ReadMessage(t.Context(), buf[:2]); !errors.As(err, &large) || large.Len != 3 {
		t.Errorf("%v, expected a message that is too large for the buffer", err)
	}
	for _, m := range messages {
		n, err := b.ReadMessage(t.Context(), buf)
		if err != nil || !bytes.Equal(buf[:n], m) {
			t.Errorf("message of %d: %d, %v", len(m), n, err)
		}
	}
	if err := a.WriteMessage(t.Context(), make([]byte, MaxPipeMessage+1)); !errors.Is(err, ErrLength) {
		t.Errorf("long message: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.ReadMessage(ctx, buf); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestRawPipe: lengths arrive rounded up to 8, the padding is zero.
func TestRawPipe(t *testing.T) {
	guest, host := newPair(t, 65536)
	a, b := NewRawPipe(guest), NewRawPipe(host)
	buf := make([]byte, 65536)
	for _, n := range []int{0, 1, 8, 13, 40_000} {
		m := bytes.Repeat([]byte{9}, n)
		if err := a.WriteMessage(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		k, err := b.ReadMessage(t.Context(), buf)
		if err != nil || !bytes.Equal(buf[:k], append(m, make([]byte, -n&7)...)) {
			t.Errorf("message of %d: %d, %v", n, k, err)
		}
	}
}
