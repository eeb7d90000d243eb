package vmbusring

import "testing"

// TestRoomSignal has the corners of the rule for signalling a writer that
// waits for room (spec section 2); the traces have the middle.
func TestRoomSignal(t *testing.T) {
	const size = PageSize
	packet := &Packet{Type: InBand, Payload: make([]byte, 1000)} // 1024 in the ring
	for name, c := range map[string]struct {
		pending uint32
		want    bool
	}{
		"nobody waits":              {0, false},
		"had the room before":       {1016, false},
		"has it just now":           {1024, true},
		"has it exactly":            {2040, true},
		"lacks a word":              {2048, false},
		"odd, has it rounded down":  {2047, true},
		"odd, had it rounded down":  {1023, false},
		"less than a word":          {7, false},
		"above all there can be":    {size - 1, false},
		"all ones":                  {0xffffffff, false},
		"the sign bit of an int32":  {0x80000000, false},
		"all there can be, not now": {size - 8, false},
	} {
		mem := newFlat(t, size)
		w, r := newRing(t, mem, 512)
		for range 3 { // 1016 bytes stay free
			if err := w.Append(packet); err != nil {
				t.Fatal(err)
			}
		}
		w.Commit()
		mem.control.PendingSendSize.Store(c.pending)
		var p Packet
		if err := r.Read(&p); err != nil {
			t.Fatal(err)
		}
		if got := r.Commit(); got != c.want {
			t.Errorf("%s: pending %d: signal %v", name, c.pending, got)
		}
		if r.Commit() {
			t.Errorf("%s: signalled for nothing", name)
		}
	}
}

// TestDataSignal: only a reader that had read everything, and wants to know.
func TestDataSignal(t *testing.T) {
	mem := newFlat(t, PageSize)
	w, r := newRing(t, mem, 0)
	write := func() bool {
		t.Helper()
		if err := w.Append(&Packet{Type: InBand}); err != nil {
			t.Fatal(err)
		}
		return w.Commit()
	}
	if write() {
		t.Error("signalled a reader that masks")
	}
	r.SetInterruptMask(false)
	if write() {
		t.Error("signalled a reader that has not read everything")
	}
	var ps [3]Packet
	if n, err := r.ReadBatch(ps[:]); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if write() {
		t.Error("signalled a reader that has not committed")
	}
	if n, err := r.ReadBatch(ps[:]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r.Commit()
	if w.Commit() {
		t.Error("signalled for nothing")
	}
	if !write() {
		t.Error("a reader that waits was not signalled")
	}
	mem.control.InterruptMask.Store(0x100) // any value but 0 masks
	if n, err := r.ReadBatch(ps[:]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r.Commit()
	if write() {
		t.Error("signalled a reader that masks")
	}
}
