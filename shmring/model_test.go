package shmring

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// Any sequence of operations on a ring agrees with a queue of messages, the
// room included, and its dump shows what the queue holds.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		off := uint64(rapid.IntRange(0, capacity/2-1).Draw(t, "offset")) * 2
		view := newRing(off)
		p, err := NewProducer(view)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewConsumer(view)
		if err != nil {
			t.Fatal(err)
		}
		var queue [][]byte // published, not popped
		var reserved [][]byte
		var peeked []uint32 // slots peeked, not released
		ended := false
		next := byte(0)
		size := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 5000), rapid.IntRange(60000, MaxMessage))
		used := func() (n uint32) {
			for _, m := range append(append([][]byte(nil), queue...), reserved...) {
				n += slotSize(markSize + uint32(len(m)))
			}
			for _, slot := range peeked {
				n += slot
			}
			if ended {
				n += slotSize(markSize)
			}
			return n
		}
		fresh := func(n int) []byte { next++; return bytes.Repeat([]byte{next}, n) }
		fits := func(n int) bool { return slotSize(markSize+uint32(n)) <= capacity-spare-used() }
		done, cancel := context.WithCancel(context.Background())
		cancel() // so that nothing waits
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				m := fresh(size.Draw(t, "size"))
				ok := fits(len(m))
				switch err := p.TryPush(m); {
				case ended && err != ErrClosed, !ended && !ok && err != ErrFull, !ended && ok && err != nil:
					t.Fatalf("push of %d bytes with %d in use: %v", len(m), used(), err)
				case err == nil:
					queue = append(append(queue, reserved...), m)
					reserved = nil
				}
			},
			"push batch": func(t *rapid.T) {
				var batch [][]byte
				room := used()
				fit := 0 // how many of the batch
				for i := range rapid.IntRange(1, 40).Draw(t, "messages") {
					m := fresh(size.Draw(t, "size"))
					batch = append(batch, m)
					if room += slotSize(markSize + uint32(len(m))); room <= capacity-spare && fit == i {
						fit++
					}
				}
				n, err := p.PushBatch(done, batch)
				switch {
				case ended && (n != 0 || err != ErrClosed), !ended && (n != fit || (err == nil) != (fit == len(batch))):
					t.Fatalf("batch of %d, of which %d fit: %d, %v", len(batch), fit, n, err)
				case !ended:
					queue = append(append(queue, reserved...), batch[:n]...)
					reserved = nil
				}
			},
			"reserve": func(t *rapid.T) {
				m := fresh(size.Draw(t, "size"))
				ok := fits(len(m))
				head, tail, err := p.Reserve(done, len(m))
				if (err == nil) != (ok && !ended) {
					t.Fatalf("reserve of %d bytes with %d in use: %v", len(m), used(), err)
				}
				if err == nil {
					copy(tail, m[copy(head, m):])
					reserved = append(reserved, m)
				}
			},
			"commit": func(t *rapid.T) {
				if err := p.Commit(); (err == nil) == ended {
					t.Fatalf("commit: %v", err)
				}
				queue, reserved = append(queue, reserved...), nil
			},
			"pop": func(t *rapid.T) {
				buf := make([]byte, MaxMessage)
				n, err := c.TryPop(buf)
				switch {
				case len(queue) == 0:
					if ended && err != io.EOF || !ended && err != ErrEmpty {
						t.Fatalf("pop of nothing: %v", err)
					}
				case err != nil || !bytes.Equal(buf[:n], queue[0]):
					t.Fatalf("pop: %d bytes, %v; want %d", n, err, len(queue[0]))
				default:
					queue, peeked = queue[1:], nil
				}
			},
			"peek": func(t *rapid.T) {
				head, tail, err := c.Peek(done)
				if len(queue) == 0 {
					if err == nil {
						t.Fatal("peek of nothing")
					}
					return
				}
				if got := append(append([]byte(nil), head...), tail...); err != nil || !bytes.Equal(got, queue[0]) {
					t.Fatalf("peek: %d bytes, %v", len(got), err)
				}
				peeked = append(peeked, slotSize(markSize+uint32(len(queue[0]))))
				queue = queue[1:]
			},
			"release": func(t *rapid.T) {
				if err := c.Release(); err != nil {
					t.Fatal(err)
				}
				peeked = nil
			},
			"batch": func(t *rapid.T) {
				buf, ends := make([]byte, rapid.IntRange(0, 9000).Draw(t, "buffer")), make([]int, 4)
				if len(queue) == 0 {
					return
				}
				n, err := c.PopBatch(done, buf, ends)
				if err == ErrShortBuffer && len(queue[0]) > len(buf) {
					return
				}
				if err != nil || n == 0 {
					t.Fatalf("batch: %d, %v", n, err)
				}
				for i, at := 0, 0; i < n; i++ {
					if !bytes.Equal(buf[at:ends[i]], queue[0]) {
						t.Fatalf("batch: message %d differs", i)
					}
					at, queue = ends[i], queue[1:]
				}
				peeked = nil
			},
			"end": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") != 0 {
					return
				}
				ok := slotSize(markSize) <= capacity-spare-used()
				err := p.CloseWrite(done)
				switch {
				case ended && err != ErrClosed, !ended && ok && err != nil, !ended && !ok && err != context.Canceled:
					t.Fatalf("end with %d in use: %v", used(), err)
				}
				queue, reserved = append(queue, reserved...), nil // also by an end that found no room
				ended = ended || err == nil
			},
			"": func(t *rapid.T) { checkDump(t, view.Bytes(), peeked, queue) },
		})
	})
}

// checkDump compares a ring's dump with the messages that it should hold: the
// peeked ones are still in it.
func checkDump(t *rapid.T, object []byte, peeked []uint32, queue [][]byte) {
	d := ReadDump(object)
	if d.Err != nil || d.Pending {
		t.Fatalf("dump: pending %v, %v", d.Pending, d.Err)
	}
	records := d.Records
	if n := len(records); n > 0 && records[n-1].EOF {
		records = records[:n-1]
	}
	if len(records) != len(peeked)+len(queue) {
		t.Fatalf("dump shows %d records, want %d peeked and %d queued", len(records), len(peeked), len(queue))
	}
	for i, m := range queue {
		if r := records[len(peeked)+i]; r.Len != len(m) || r.Sum != fnv1a(m) {
			t.Fatalf("dump: record %d is %+v", i, r)
		}
	}
}

// Until Commit the ring is as it was, so that a peer that waits for a message
// keeps the cache lines it looks at.
func TestReserveStoresNothing(t *testing.T) {
	for _, off := range []uint64{0, capacity - 2, capacity - 4, capacity - 8} { // the record wraps in front of, in, and behind its mark
		p, c, view := heapRing(t, off)
		before := bytes.Clone(view.Bytes())
		for _, n := range []int{64, 1, 200} {
			if _, _, err := p.Reserve(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(view.Bytes(), before) {
			t.Errorf("from %d on: Reserve changed the ring", off)
		}
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{64, 1, 200} {
			if n, err := c.TryPop(make([]byte, 200)); n != want || err != nil {
				t.Errorf("from %d on: popped %d bytes, %v; want %d", off, n, err, want)
			}
		}
	}
}

// A batch in the ring stays invisible until its first length is written, last.
func TestBatchBeforeCommit(t *testing.T) {
	p, c, _ := heapRing(t, capacity-100) // the second message wraps
	messages := [][]byte{message(64, 1), message(65, 2), message(1, 3)}
	if n := p.gather(messages); n != len(messages) {
		t.Fatalf("gathered %d", n)
	}
	if _, err := c.TryPop(nil); err != ErrEmpty {
		t.Fatalf("before commit: %v", err)
	}
	p.writer.commit()
	buf := make([]byte, 100)
	for _, want := range messages {
		if n, err := c.TryPop(buf); err != nil || !bytes.Equal(buf[:n], want) {
			t.Errorf("popped % x, %v", buf[:n], err)
		}
	}
}

func TestReserveThatCanNeverFit(t *testing.T) {
	p, c, _ := heapRing(t, 0)
	if _, _, err := p.Reserve(t.Context(), 40000); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Reserve(t.Context(), 40000); err != ErrFull {
		t.Fatalf("second half of what is too much: %v", err)
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	head, tail, err := c.Peek(t.Context())
	if err != nil || len(head)+len(tail) != 40000 {
		t.Fatalf("peek: %d bytes, %v", len(head)+len(tail), err)
	}
}

func TestClose(t *testing.T) {
	creator, opener := connect(t, nil)
	popped := make(chan error)
	go func() {
		_, err := creator.Pop(testContext(t), make([]byte, 1))
		popped <- err
	}()
	if err := opener.Push(t.Context(), []byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := <-popped; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := creator.Pop(testContext(t), make([]byte, 1))
		popped <- err
	}()
	if err := creator.TryPush([]byte("left behind")); err != nil {
		t.Fatal(err)
	}
	if err := creator.Pair.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-popped; err != ErrClosed {
		t.Errorf("pop while closing: %v", err)
	}
	if err := creator.Pair.Close(); err != ErrClosed {
		t.Errorf("second close: %v", err)
	}
	for what, err := range map[string]error{
		"TryPush":    creator.TryPush([]byte{1}),
		"Commit":     creator.Commit(),
		"Release":    creator.Release(),
		"CloseWrite": creator.CloseWrite(t.Context()),
	} {
		if err != ErrClosed {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	buf := make([]byte, 16)
	if n, err := opener.Pop(t.Context(), buf); err != nil || string(buf[:n]) != "left behind" {
		t.Errorf("what the closed peer had pushed: %q, %v", buf[:n], err)
	}
	if _, err := opener.Pop(testContext(t), buf); err != ErrPeerGone {
		t.Errorf("pop from a peer that closed without an end: %v", err)
	}
	if err := opener.Drain(testContext(t)); err != nil && err != ErrPeerGone {
		t.Errorf("drain to a peer that closed: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a/b", "a\x00b", string(message(MaxName+1, 'x'))} {
		if _, err := Create(name, nil); !errors.Is(err, ErrName) {
			t.Errorf("Create(%.10q): %v", name, err)
		}
		if _, err := Open(name, nil); !errors.Is(err, ErrName) {
			t.Errorf("Open(%.10q): %v", name, err)
		}
	}
	if MaxName != 241 {
		t.Errorf("MaxName = %d, want 241", MaxName)
	}
	if MaxMessage != 65512 {
		t.Errorf("MaxMessage = %d, want 65512", MaxMessage)
	}
}

// A message that does not fit beside what is reserved waits for room, which
// the peer can make only of what it sees.
func TestPushBehindReservedWaitsForRoom(t *testing.T) {
	p, c, _ := heapRing(t, 0)
	head, _, err := p.Reserve(t.Context(), 40000)
	if err != nil {
		t.Fatal(err)
	}
	copy(head, message(40000, 1))
	buf := make([]byte, MaxMessage)
	ctx := waitContext{testContext(t), func() {
		if n, err := c.TryPop(buf); n != 40000 || err != nil {
			t.Fatalf("what was reserved, while Push waits: %d bytes, %v", n, err)
		}
	}}
	if err := p.Push(ctx, message(40000, 2)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.TryPop(buf); err != nil || string(buf[:n]) != string(message(40000, 2)) {
		t.Fatalf("the message: %d bytes, %v", n, err)
	}
}

// A consumer that waits for the next message to copy holds no room that the
// producer of that message needs.
func TestPopBehindPeekedWaitsForAMessage(t *testing.T) {
	for name, pop := range map[string]func(*Consumer, context.Context) error{
		"Pop": func(c *Consumer, ctx context.Context) error {
			_, err := c.Pop(ctx, make([]byte, 1))
			return err
		},
		"PopBatch": func(c *Consumer, ctx context.Context) error {
			_, err := c.PopBatch(ctx, make([]byte, 1), make([]int, 1))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, c, _ := heapRing(t, 0)
			if err := p.TryPush(message(MaxMessage, 1)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Peek(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx := waitContext{testContext(t), func() {
				if err := p.TryPush([]byte{2}); err != nil {
					t.Fatalf("the next message, while %s waits: %v", name, err)
				}
			}}
			if err := pop(c, ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}
