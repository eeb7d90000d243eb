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
	b.Run("Batch", func(b *testing.B) {
		ms, buf, ends := make([][]byte, 200), make([]byte, 65536), make([]int, 200)
		for i := range ms {
			ms[i] = m
		}
		for b.Loop() {
			for range len(ms) / 100 {
				if _, err := p.PushBatch(ctx, ms[:100]); err != nil {
					b.Fatal(err)
				}
				if n, err := c.PopBatch(ctx, buf, ends[:100]); err != nil || n != 100 {
					b.Fatal(n, err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ms)), "ns/message")
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
