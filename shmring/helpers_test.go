package shmring

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"testing"

	"loomstore/internal/mapping"
	"loomstore/internal/ringload"
)

func fnv1a(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

func wantEOF(t testing.TB, c *Consumer, err error) {
	t.Helper()
	if err != io.EOF {
		t.Fatalf("at the end of the stream: %v", err)
	}
	if _, err := c.TryPop(nil); err != io.EOF {
		t.Fatalf("behind the end of the stream: %v", err)
	}
}

// newRing returns an empty ring in the heap, with both offsets at off.
func newRing(off uint64) *mapping.View {
	view := mapping.NewHeap(ObjectSize)
	view.Uint64(popAt).Store(off)
	view.Uint64(pushAt).Store(off)
	return view
}

// heapRing returns both ends of a ring in the heap, with both offsets at off.
func heapRing(t testing.TB, off uint64) (*Producer, *Consumer, *mapping.View) {
	t.Helper()
	view := newRing(off)
	p, err := NewProducer(view)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConsumer(view)
	if err != nil {
		t.Fatal(err)
	}
	return p, c, view
}

// pour pushes n messages of g.
func pour(ctx context.Context, p *Producer, g *ringload.Generator, n int) error {
	for range n {
		if err := p.Push(ctx, g.Next()); err != nil {
			return err
		}
	}
	return nil
}

// sieve pops n messages and compares them with g's.
func sieve(ctx context.Context, c *Consumer, g *ringload.Generator, n int) error {
	buf := make([]byte, MaxMessage)
	for i := range n {
		got, err := c.Pop(ctx, buf)
		if err != nil {
			return err
		}
		if want := g.Next(); !bytes.Equal(buf[:got], want) {
			return mismatch{i, got, len(want)}
		}
	}
	return nil
}

type mismatch struct{ message, got, want int }

func (m mismatch) Error() string {
	return fmt.Sprintf("message %d differs from the one sent: %d bytes, want %d", m.message, m.got, m.want)
}

func message(n int, fill byte) []byte { return bytes.Repeat([]byte{fill}, n) }

// waitContext calls a function when somebody waits: it is asked for its error
// only then.
type waitContext struct {
	context.Context
	waits func()
}

func (c waitContext) Err() error {
	c.waits()
	return c.Context.Err()
}
