package vmbusring

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"loomstore/vmbusring/internal/fixture"
)

// TestSignalTraces repeats the random operations that were run on the
// original, both ends on one ring, and compares every result and the control
// page after every step: so signals are decided exactly as there.
func TestSignalTraces(t *testing.T) {
	var traces []struct {
		RingSize int `json:"ring_size"`
		Start    uint32
		Steps    [][7]json.RawMessage
	}
	fixture.Load(t, "signals.json", &traces)
	if len(traces) == 0 {
		t.Fatal("no traces")
	}
	for _, trace := range traces {
		t.Run(fmt.Sprint(trace.RingSize, "from", trace.Start), func(t *testing.T) {
			mem, err := NewFlat(trace.RingSize)
			if err != nil {
				t.Fatal(err)
			}
			mem.control.In.Store(trace.Start)
			mem.control.Out.Store(trace.Start)
			w, err := NewWriter(mem)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(mem, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i, step := range trace.Steps {
				var op string
				var arg int
				var want any
				var after [4]uint32
				for k, v := range []any{&op, &arg, &want, &after[0], &after[1], &after[2], &after[3]} {
					if err := json.Unmarshal(step[k], v); err != nil {
						t.Fatal(err)
					}
				}
				got := fmt.Sprint(runStep(t, w, r, op, arg))
				if got != fmt.Sprint(want) && !beyondUpstream(mem, arg, got, want) {
					t.Fatalf("step %d: %s %d gives %v, expected %v", i, op, arg, got, want)
				}
				c := Inspect(mem)
				if now := [4]uint32{c.In, c.Out, c.InterruptMask, c.PendingSendSize}; now != after {
					t.Fatalf("step %d: %s %d leaves %v, expected %v", i, op, arg, now, after)
				}
			}
		})
	}
}

// beyondUpstream: a packet that takes all the room a ring has is refused there
// for its length, while here it only has to fit (defect 3).
func beyondUpstream(mem Memory, payload int, got string, want any) bool {
	total := (&Packet{Type: InBand}).PacketSize(payload)
	return want == "error: invalid message length" && total == mem.Size()-8 && got == fmt.Sprint("full ", total)
}

// runStep runs one operation and returns its result as the traces have it.
func runStep(t *testing.T, w *Writer, r *Reader, op string, arg int) any {
	t.Helper()
	check := func(v any, err error) any {
		switch {
		case err == nil:
			return v
		case errors.Is(err, ErrEmpty):
			return "empty"
		case errors.Is(err, ErrFull):
			return fmt.Sprint("full ", (&Packet{Type: InBand}).PacketSize(arg))
		case errors.Is(err, ErrLength):
			return "error: invalid message length"
		default:
			t.Fatal(err)
			return nil
		}
	}
	switch op {
	case "write":
		return check("ok", w.Append(&Packet{Type: InBand, Payload: make([]byte, arg)}))
	case "commit_write":
		return w.Commit()
	case "can_write":
		return check(w.CanWrite((&Packet{Type: InBand}).PacketSize(arg)))
	case "pending":
		return check("ok", w.SetPending(arg))
	case "read":
		var p Packet
		err := r.Read(&p)
		return check(len(p.Payload), err)
	case "commit_read":
		return r.Commit()
	case "can_read":
		return check(r.CanRead())
	case "mask":
		r.SetInterruptMask(arg != 0)
		return nil
	default:
		t.Fatalf("unknown operation %q", op)
		return nil
	}
}

// TestLimits holds the largest packets against what the original takes, and
// against what it should have taken.
func TestLimits(t *testing.T) {
	var limits []struct {
		RingSize      int  `json:"ring_size"`
		MaxPacket     *int `json:"maximum_packet_size"`
		MaxMessage    int  `json:"largest_pipe_message"`
		Payload       int
		Length8InRing uint16 `json:"length8_in_ring"`
		Length8Needed int    `json:"length8_needed"`
	}
	fixture.Load(t, "limits.json", &limits)
	for _, l := range limits {
		mem, err := NewFlat(l.RingSize)
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(mem)
		if err != nil {
			t.Fatal(err)
		}
		if l.MaxPacket == nil {
			// Defect 2: refused exactly where the original cut the length.
			err := w.Append(&Packet{Type: InBand, Payload: make([]byte, l.Payload)})
			if fits := l.Length8Needed == int(l.Length8InRing); fits != (err == nil) || !fits && !errors.Is(err, ErrLength) {
				t.Errorf("payload of %d: %v, length8 needed %d", l.Payload, err, l.Length8Needed)
			}
			continue
		}
		// Defect 3: a packet may take all that was promised.
		largest := min(*l.MaxPacket-minPacket, maxPacketBody-descriptorSize)
		if err := w.Append(&Packet{Type: InBand, Payload: make([]byte, largest+1)}); !errors.Is(err, ErrLength) {
			t.Errorf("ring of %d: payload of %d: %v", l.RingSize, largest+1, err)
		}
		if err := w.Append(&Packet{Type: InBand, Payload: make([]byte, largest)}); err != nil {
			t.Errorf("ring of %d: payload of %d: %v", l.RingSize, largest, err)
		}
		message := min(*l.MaxPacket-minPacket-pipeHeaderSize, MaxPipeMessage)
		if message < l.MaxMessage {
			t.Errorf("ring of %d: messages of %d, less than the original's %d", l.RingSize, message, l.MaxMessage)
		}
		testMessageLimit(t, l.RingSize, message)
	}
}

// testMessageLimit sends the longest message through, and is refused one more byte.
func testMessageLimit(t *testing.T, ringSize, message int) {
	t.Helper()
	guest, host, err := Pair(ringSize, nil)
	if err != nil {
		t.Fatal(err)
	}
	from, to := NewMessagePipe(guest), NewMessagePipe(host)
	defer from.Close()
	defer to.Close()
	b := make([]byte, message+1)
	if err := from.WriteMessage(t.Context(), b); !errors.Is(err, ErrLength) {
		t.Errorf("ring of %d: message of %d: %v", ringSize, len(b), err)
	}
	if err := from.WriteMessage(t.Context(), b[:message]); err != nil {
		t.Errorf("ring of %d: message of %d: %v", ringSize, message, err)
	}
	if n, err := to.ReadMessage(t.Context(), b); n != message || err != nil {
		t.Errorf("ring of %d: read a message of %d: %v", ringSize, n, err)
	}
}
