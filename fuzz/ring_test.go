package fuzz

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"testing"

	"loomstore/internal/mapping"
	"loomstore/shmring"
)

// FuzzRing lets anybody write anything into a ring: at first, and between our
// own calls. Nothing may panic, a dump and a consumer must agree about a ring
// at rest, and what a producer accepts must come out as it went in, as long as
// nobody interferes.
func FuzzRing(f *testing.F) {
	record := func(off int, length uint16, body string) []byte {
		b := make([]byte, 16+off+2+len(body))
		binary.LittleEndian.PutUint64(b, uint64(off))
		binary.LittleEndian.PutUint64(b[8:], uint64(off+2+len(body)+len(body)%2))
		binary.LittleEndian.PutUint16(b[16+off:], length)
		copy(b[16+off+2:], body)
		return b
	}
	f.Add([]byte{}, []byte{3, 200, 9})
	f.Add(record(0, 9, "\x0b\x0e\x0e\x0fhello"), []byte{1, 2, 3})
	f.Add(record(0, 4, "\x0d\x0e\x0a\x0d"), []byte{})
	f.Add(record(0, 5, "\x0d\x0e\x0a\x0dx"), []byte{})
	f.Add(record(0, 2, "\x0b\x0e"), []byte{})
	f.Add(record(300, 1000, "\x0b\x0e\x0e\x0f"), []byte{})
	f.Add(binary.LittleEndian.AppendUint64(nil, 65520), []byte{})
	f.Add(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 65518), 65518), []byte{255, 255, 255, 255, 4, 4})
	f.Fuzz(func(t *testing.T, ring, steps []byte) {
		view := mapping.NewHeap(shmring.ObjectSize)
		copy(view.Bytes(), ring)
		atRest(t, view)
		disturbed(t, view, steps)
	})
}

// atRest compares what a consumer pops with the dump, and then sends one
// message through.
func atRest(t *testing.T, original *mapping.View) {
	view := mapping.NewHeap(shmring.ObjectSize)
	copy(view.Bytes(), original.Bytes())
	d := shmring.ReadDump(view.Bytes())
	if !bytes.Equal(view.Bytes(), original.Bytes()) {
		t.Fatal("the dump changed the ring")
	}
	c, err := shmring.NewConsumer(view)
	if (err == nil) != d.Placed {
		t.Fatalf("consumer: %v, dump: %v", err, d.Err)
	}
	if err != nil {
		return
	}
	buf := make([]byte, shmring.MaxMessage)
	for i, r := range d.Records {
		n, err := c.TryPop(buf)
		if r.EOF {
			if err != io.EOF {
				t.Fatalf("record %d: %v, want the end", i, err)
			}
			return
		}
		sum := fnv.New64a()
		sum.Write(buf[:n])
		if err != nil || n != r.Len || sum.Sum64() != r.Sum {
			t.Fatalf("record %d: %d bytes, %v, want %+v", i, n, err, r)
		}
	}
	switch _, err := c.TryPop(buf); {
	case d.Err != nil:
		if !errors.Is(err, shmring.ErrCorrupt) {
			t.Fatalf("pop: %v, dump: %v", err, d.Err)
		}
		return
	case err != shmring.ErrEmpty:
		t.Fatalf("pop from a drained ring: %v", err)
	}
	p, err := shmring.NewProducer(view)
	if err != nil || d.Pending {
		return
	}
	sent := bytes.Repeat([]byte{42}, 1+len(d.Records)%700)
	if err := p.TryPush(sent); err != nil {
		t.Fatalf("push into a drained ring: %v", err)
	}
	if n, err := c.TryPop(buf); err != nil || !bytes.Equal(buf[:n], sent) {
		t.Fatalf("pop of what was pushed: %d bytes, %v", n, err)
	}
}

// disturbed pushes and pops while the steps overwrite shared words.
func disturbed(t *testing.T, view *mapping.View, steps []byte) {
	p, err := shmring.NewProducer(view)
	if err != nil {
		return
	}
	c, err := shmring.NewConsumer(view)
	if err != nil {
		return
	}
	buf := make([]byte, shmring.MaxMessage)
	for len(steps) >= 3 {
		op, where, what := steps[0], int(steps[1]), int(steps[2])
		steps = steps[3:]
		switch op % 6 {
		case 0:
			_ = p.TryPush(buf[:where*what])
		case 1:
			n, err := c.TryPop(buf)
			if err == nil && n > len(buf) {
				t.Fatalf("a message of %d bytes", n)
			}
		case 2:
			view.Uint64(8 * (where % 2)).Store(uint64(what) << (where % 57))
		case 3:
			off := view.Uint64(0).Load() % 65520 &^ 1
			view.ReleaseUint16(16+int(off), uint16(where)<<8|uint16(what))
		case 4:
			_, _ = c.PopBatch(done(), buf[:where*257%len(buf)], make([]int, 1+what%8))
		case 5:
			_, _ = p.PushBatch(done(), [][]byte{buf[:1+where], buf[:1+what], buf[:1+where*what]})
		}
	}
}

// done returns a context that lets nothing wait.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
