package shmring

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"loomstore/internal/mapping"
)

// One test for each defect of the original (spec section 2), that ours does
// not have it. Here what a record and a ring can look like; in
// lifecycle_defects_linux_test.go how a pair ends, waits and is named.

func TestD01PushedBeforeThePeerOpens(t *testing.T) {
	for _, peer := range []string{"ours", "upstream"} {
		t.Run(peer, func(t *testing.T) {
			name := uniqueName(t)
			pair, err := Create(name, nil)
			creator := claim(t, pair, err)
			sent := 0
			for creator.TryPush(message(1000, byte(sent))) == nil {
				sent++
			}
			if sent != 65 {
				t.Fatalf("%d messages fill the ring, want 65", sent)
			}
			var receive func(buf []byte) ([]byte, error)
			if peer == "ours" {
				before := append([]byte(nil), creator.Producer.view.Bytes()...)
				p, err := Open(name, nil)
				opener := claim(t, p, err)
				if string(before) != string(creator.Producer.view.Bytes()) {
					t.Error("Open changed the ring")
				}
				receive = func(buf []byte) ([]byte, error) {
					n, err := opener.TryPop(buf)
					return buf[:n], err
				}
			} else {
				u := upstreamOpen(t, name)
				receive = func(buf []byte) ([]byte, error) { return u.receive(buf, func() { t.Fatal("the ring is stuck") }) }
			}
			buf := make([]byte, 65536)
			for i := range sent {
				got, err := receive(buf)
				if err != nil || string(got) != string(message(1000, byte(i))) {
					t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
}

// And upstream's open in the middle of the first lap finds its two bytes free,
// wherever the record that comes nearest to them ends.
func TestD01FirstOffsetIsSpare(t *testing.T) {
	p, c, view := heapRing(t, firstOffset)
	if err := p.TryPush(message(MaxMessage, 7)); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(view.Bytes()[bufferAt:], 0)
	buf := make([]byte, MaxMessage)
	if n, err := c.TryPop(buf); err != nil || string(buf[:n]) != string(message(MaxMessage, 7)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestD02D03OneProducerOneConsumer(t *testing.T) {
	name := uniqueName(t)
	p, err := Create(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Producer(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Producer(); err != ErrClaimed {
		t.Errorf("second producer: %v", err)
	}
	if _, err := p.Consumer(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Consumer(); err != ErrClaimed {
		t.Errorf("second consumer: %v", err)
	}
	q, err := Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("second opener: %v", err)
	}
	q.Close()
	if _, err := Open(name, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("opener after the only one: %v", err)
	}
}

// D4 with a real death is TestKill; here the state that it can leave.
func TestD04UnfinishedMessage(t *testing.T) {
	creator, opener := connect(t, nil)
	creator.Producer.view.Uint64(pushAt).Store(firstOffset + 32) // a claim, not finished
	die(creator.Pair)
	_, err := opener.Pop(testContext(t), nil)
	if !errors.Is(err, ErrPeerDead) || err == ErrPeerDead {
		t.Errorf("pop of an unfinished message from a dead peer: %v", err)
	}
}

// die does what the kernel does when p's process is killed: the names stay,
// the lock goes.
func die(p *Pair) { _ = unlock(p.control.file, p.party) }

func TestD05EmptyMessage(t *testing.T) {
	p, c, _ := heapRing(t, 0)
	if err := p.TryPush(nil); err != ErrEmptyMessage {
		t.Errorf("TryPush: %v", err)
	}
	if err := p.Push(t.Context(), []byte{}); err != ErrEmptyMessage {
		t.Errorf("Push: %v", err)
	}
	if _, _, err := p.Reserve(t.Context(), 0); err != ErrEmptyMessage {
		t.Errorf("Reserve: %v", err)
	}
	if _, _, err := p.Reserve(t.Context(), -1); err != ErrEmptyMessage {
		t.Errorf("Reserve(-1): %v", err)
	}
	if n, err := p.PushBatch(t.Context(), [][]byte{{1}, {}, {2}}); n != 1 || err != ErrEmptyMessage {
		t.Errorf("PushBatch: %d, %v", n, err)
	}
	// One that a peer sends all the same is what it is, not the end.
	raw := upstreamRing{view: p.view, ring: &upstream{}}
	if err := raw.tryPush(dataHeader); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, err := c.TryPop(buf); n != 1 || err != nil {
		t.Errorf("first message: %d, %v", n, err)
	}
	if n, err := c.TryPop(buf); n != 0 || err != nil {
		t.Errorf("empty message: %d, %v", n, err)
	}
	if _, err := c.TryPop(buf); err != ErrEmpty {
		t.Errorf("behind it: %v", err)
	}
}

func TestD06D07D08BadRecords(t *testing.T) {
	record := func(b ...byte) []byte { return b }
	for _, tt := range []struct {
		name   string
		record []byte
		want   Defect
	}{
		{"unknown application header", record(1, 2, 3, 4, 5), DefectAppHeader},
		{"end of stream with payload", record(0x0d, 0x0e, 0x0a, 0x0d, 5), DefectEOFPayload},
		{"1 byte", record(0x0b), DefectRecordLength},
		{"2 bytes", record(0x0b, 0x0e), DefectRecordLength},
		{"3 bytes", record(0x0b, 0x0e, 0x0e), DefectRecordLength},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, off := range []uint64{0, 2, capacity - 2, capacity - 4} {
				p, c, view := heapRing(t, off)
				raw := upstreamRing{view: view, ring: &upstream{}}
				if err := raw.tryPush(tt.record); err != nil {
					t.Fatal(err)
				}
				wantDefect(t, c, tt.want)
				if d := ReadDump(p.view.Bytes()); token(d) != "error:"+string(tt.want) {
					t.Errorf("dump ends with %s", token(d))
				}
			}
		})
	}
}

func wantDefect(t *testing.T, c *Consumer, want Defect) {
	t.Helper()
	_, err := c.TryPop(make([]byte, MaxMessage))
	var e *CorruptError
	if !errors.As(err, &e) || e.Defect != want || !errors.Is(err, ErrCorrupt) {
		t.Errorf("pop: %v, want a corrupt ring: %s", err, want)
	}
	if _, again := c.TryPop(nil); again != err {
		t.Errorf("pop again: %v", again)
	}
}

// A consumer that waits looks at push_offset first. A peer that writes a length
// without moving it must not keep the consumer waiting.
func TestD08LengthBehindPushOffsetWhileWaiting(t *testing.T) {
	_, c, view := heapRing(t, 0)
	ctx := waitContext{testContext(t), func() { view.ReleaseUint16(bufferAt, 5) }}
	_, err := c.Pop(ctx, make([]byte, 8))
	var e *CorruptError
	if !errors.As(err, &e) || e.Defect != DefectPastPush {
		t.Errorf("pop: %v, want %s", err, DefectPastPush)
	}
}

func TestD08OffsetsAndLengths(t *testing.T) {
	t.Run("at attach", func(t *testing.T) {
		for _, word := range []int{popAt, pushAt} {
			for _, bad := range []uint64{1, 13, capacity, 70000, 1 << 40, 1<<64 - 2} {
				view := mapping.NewHeap(ObjectSize)
				view.Uint64(word).Store(bad)
				if _, err := NewConsumer(view); !errors.Is(err, ErrCorrupt) {
					t.Errorf("consumer with word %d = %d: %v", word, bad, err)
				}
				if _, err := NewProducer(view); !errors.Is(err, ErrCorrupt) {
					t.Errorf("producer with word %d = %d: %v", word, bad, err)
				}
			}
		}
	})
	t.Run("push_offset while popping", func(t *testing.T) {
		for _, bad := range []uint64{13, capacity, 1 << 40, capacity - 2} { // the last: further than what was free
			_, c, view := heapRing(t, 0)
			view.Uint64(pushAt).Store(bad)
			binary.LittleEndian.PutUint16(view.Bytes()[bufferAt:], 8)
			if bad == capacity-2 { // legal when empty; so first take it over, then go back
				view.Uint64(pushAt).Store(100)
				binary.LittleEndian.PutUint32(view.Bytes()[bufferAt+2:], dataMark)
				if _, err := c.TryPop(make([]byte, 8)); err != nil {
					t.Fatal(err)
				}
				view.Uint64(pushAt).Store(50)
				binary.LittleEndian.PutUint16(view.Bytes()[bufferAt+10:], 200)
			}
			wantDefect(t, c, DefectOffset)
		}
	})
	t.Run("pop_offset while pushing", func(t *testing.T) {
		for _, bad := range []uint64{13, capacity, 1 << 40, 5000} { // the last: beyond push_offset
			p, _, view := heapRing(t, 0)
			if err := p.TryPush(message(4000, 1)); err != nil {
				t.Fatal(err)
			}
			view.Uint64(popAt).Store(bad)
			err := p.TryPush(message(MaxMessage-1000, 1))
			var e *CorruptError
			if !errors.As(err, &e) || e.Defect != DefectOffset {
				t.Errorf("pop_offset %d: %v", bad, err)
			}
			if again := p.TryPush(message(1, 1)); again != err {
				t.Errorf("push again: %v", again)
			}
		}
	})
	t.Run("length", func(t *testing.T) {
		for _, bad := range []uint16{1000, 0x7fff, 0xffff} {
			p, c, view := heapRing(t, 0)
			if err := p.TryPush(message(6, 1)); err != nil {
				t.Fatal(err)
			}
			binary.LittleEndian.PutUint16(view.Bytes()[bufferAt:], bad)
			wantDefect(t, c, DefectRecordLength)
		}
	})
	t.Run("record without push_offset", func(t *testing.T) {
		p, c, view := heapRing(t, 0)
		if err := p.TryPush(message(6, 1)); err != nil {
			t.Fatal(err)
		}
		view.Uint64(pushAt).Store(0)
		wantDefect(t, c, DefectPastPush)
		if _, err := NewProducer(view); !errors.Is(err, ErrCorrupt) {
			t.Errorf("producer on top of a record: %v", err)
		}
	})
}

func TestD09Sizes(t *testing.T) {
	for _, size := range []int64{0, 2, 4096, ObjectSize - 1, ObjectSize + 1} {
		for _, suffix := range []string{pushSuffix, popSuffix} {
			name := uniqueName(t)
			u := upstreamCreate(t, name)
			if err := os.Truncate(path(name, suffix), size); err != nil {
				t.Fatal(err)
			}
			_, err := Open(name, nil)
			var e *CorruptError
			if !errors.As(err, &e) || e.Defect != DefectSize {
				t.Errorf("%s of %d bytes: %v", suffix, size, err)
			}
			u.drop()
		}
	}
	// Cut while it is in use, which is SIGBUS.
	t.Run("in use", func(t *testing.T) {
		creator, opener := connect(t, nil)
		if err := creator.TryPush(message(10, 1)); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{pushSuffix, popSuffix, controlSuffix} {
			if err := os.Truncate(path(creator.name, suffix), 0); err != nil {
				t.Fatal(err)
			}
		}
		ctx := testContext(t)
		if err := creator.Push(ctx, message(10, 1)); !errors.Is(err, ErrCorrupt) || !errors.Is(err, mapping.ErrFault) {
			t.Errorf("push: %v", err)
		}
		if _, err := opener.Pop(ctx, make([]byte, 10)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("pop: %v", err)
		}
		if _, _, err := opener.Reserve(ctx, 10); !errors.Is(err, ErrCorrupt) && err != nil {
			t.Errorf("reserve: %v", err)
		}
		if err := opener.CloseWrite(ctx); !errors.Is(err, ErrCorrupt) {
			t.Errorf("close: %v", err)
		}
		if _, _, err := creator.Peek(ctx); !errors.Is(err, ErrCorrupt) {
			t.Errorf("peek: %v", err)
		}
	})
}

func TestD10ExactlyFull(t *testing.T) {
	for _, off := range []uint64{0, 2, 40000, capacity - 2} {
		p, c, _ := heapRing(t, off)
		buf := make([]byte, MaxMessage)
		for range 3 {
			if err := p.TryPush(message(MaxMessage, 9)); err != nil {
				t.Fatal(err)
			}
			if err := p.TryPush(message(1, 9)); err != ErrFull {
				t.Fatalf("push to a full ring: %v", err)
			}
			if n, err := c.TryPop(buf); n != MaxMessage || err != nil {
				t.Fatalf("pop: %d, %v", n, err)
			}
		}
	}
}

func TestD11LengthsThatNeverFit(t *testing.T) {
	p, _, _ := heapRing(t, 0)
	for _, n := range []int{65513, 65531, 65532, 65536, 1 << 20} {
		if err := p.TryPush(message(n, 1)); err != ErrTooLong {
			t.Errorf("TryPush of %d bytes: %v", n, err)
		}
		if err := p.Push(t.Context(), message(n, 1)); err != ErrTooLong {
			t.Errorf("Push of %d bytes: %v", n, err)
		}
		if _, _, err := p.Reserve(t.Context(), n); err != ErrTooLong {
			t.Errorf("Reserve of %d bytes: %v", n, err)
		}
	}
	if err := p.TryPush(message(MaxMessage, 1)); err != nil {
		t.Errorf("TryPush of the longest message: %v", err)
	}
}

func TestD12ShortBuffer(t *testing.T) {
	p, c, _ := heapRing(t, 0)
	if err := p.TryPush(message(9000, 3)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Pop(t.Context(), make([]byte, 8192))
	if n != 9000 || err != ErrShortBuffer {
		t.Fatalf("pop into a short buffer: %d, %v", n, err)
	}
	if _, err := c.PopBatch(t.Context(), make([]byte, 8192), make([]int, 1)); err != ErrShortBuffer {
		t.Fatalf("batch into a short buffer: %v", err)
	}
	buf := make([]byte, n)
	if n, err := c.TryPop(buf); n != 9000 || err != nil || string(buf) != string(message(9000, 3)) {
		t.Fatalf("pop with a buffer of that length: %d, %v", n, err)
	}
}
