package shmring

import "testing"

// BenchmarkOneThread is what the calls themselves cost, without a second
// processor: push and pop a 64-byte message beside the floor doing the same.
func BenchmarkOneThread(b *testing.B) {
	p, c, _ := heapRing(b, 0)
	m, buf, ctx := message(64, 1), make([]byte, 64), b.Context()
	b.Run("PushPop", func(b *testing.B) {
		for b.Loop() {
			if err := p.Push(ctx, m); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Pop(ctx, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("InPlace", func(b *testing.B) {
		for b.Loop() {
			head, tail, err := p.Reserve(ctx, len(m))
			if err != nil {
				b.Fatal(err)
			}
			copy(tail, m[copy(head, m):])
			if err := p.Commit(); err != nil {
				b.Fatal(err)
			}
			if _, _, err = c.Peek(ctx); err != nil {
				b.Fatal(err)
			}
			if err := c.Release(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
