package vmbusring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// newRing returns both ends of a ring that has moved on to start.
func newRing(t testing.TB, mem Memory, start int) (*Writer, *Reader) {
	t.Helper()
	mem.Control().In.Store(uint32(start))
	mem.Control().Out.Store(uint32(start))
	w, err := NewWriter(mem)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(mem, 0)
	if err != nil {
		t.Fatal(err)
	}
	return w, r
}

func newFlat(t testing.TB, size int) *Flat {
	t.Helper()
	f, err := NewFlat(size)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// newPaged returns a ring whose pages lie in memory in reverse order.
func newPaged(t testing.TB, size int) *Paged {
	t.Helper()
	n := 1 + size/PageSize
	mem := make([]byte, n*PageSize)
	var pages [][]byte
	for i := range n {
		at := (n - 1 - i) * PageSize
		pages = append(pages, mem[at:at+PageSize])
	}
	p, err := NewPaged(pages...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// anyPacket draws a packet of any type.
func anyPacket(t *rapid.T) *Packet {
	p := &Packet{
		Type:          rapid.SampledFrom([]Type{InBand, Completion, GPADirect, TransferPages}).Draw(t, "type"),
		TransactionID: rapid.Uint64().Draw(t, "id"),
		Payload:       rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
	}
	switch p.Type {
	case InBand:
		p.CompletionRequested = rapid.Bool().Draw(t, "completion")
	case TransferPages:
		p.CompletionRequested = true
		p.TransferSet = rapid.Uint16().Draw(t, "set")
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			p.TransferRanges = append(p.TransferRanges, TransferRange{rapid.Uint32().Draw(t, "count"), rapid.Uint32().Draw(t, "offset")})
		}
	case GPADirect:
		p.CompletionRequested = true
		for range rapid.IntRange(1, 3).Draw(t, "ranges") {
			g := GPARange{Len: rapid.Uint32Range(1, 40000).Draw(t, "len"), Offset: rapid.Uint32Range(0, 4095).Draw(t, "offset")}
			for range g.pages() {
				g.PFNs = append(g.PFNs, rapid.Uint64().Draw(t, "pfn"))
			}
			p.GPARanges = append(p.GPARanges, g)
		}
	}
	return p
}

// TestRingProperty runs random writes, commits, reverts and reads against a
// queue, over all kinds of memory and from any start, so that every part of a
// packet comes to lie across the end.
func TestRingProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := PageSize * rapid.IntRange(1, 3).Draw(t, "pages")
		var mem Memory
		if rapid.Bool().Draw(t, "paged") {
			mem = pagedOf(t, size)
		} else {
			mem, _ = NewFlat(size)
		}
		start := 8 * rapid.IntRange(0, size/8-1).Draw(t, "start")
		mem.Control().In.Store(uint32(start))
		mem.Control().Out.Store(uint32(start))
		w, err := NewWriter(mem)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(mem, 0)
		if err != nil {
			t.Fatal(err)
		}
		var staged, published, taken []*Packet
		used := func() (n int) {
			for _, p := range slices.Concat(staged, published, taken) {
				n += p.PacketSize(0)
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				p := anyPacket(t)
				err := w.Append(p)
				if fits := p.PacketSize(0) <= size-8-used(); fits != (err == nil) || !fits && err != ErrFull {
					t.Fatalf("packet of %d with %d of %d used: %v", p.PacketSize(0), used(), size, err)
				}
				if err == nil {
					staged = append(staged, p)
				}
			},
			"commit write": func(t *rapid.T) {
				w.Commit()
				published, staged = append(published, staged...), nil
			},
			"revert write": func(*rapid.T) {
				w.Revert()
				staged = nil
			},
			"read": func(t *rapid.T) {
				var p Packet
				err := r.Read(&p)
				if len(published) == 0 {
					if err != ErrEmpty {
						t.Fatalf("%v, expected empty", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(asRead(published[0]), &p, ignoreOwn...); diff != "" {
					t.Fatal("(-want +got)", diff)
				}
				taken, published = append(taken, published[0]), published[1:]
				if rapid.Bool().Draw(t, "unread") {
					r.Unread()
					published, taken = append([]*Packet{taken[len(taken)-1]}, published...), taken[:len(taken)-1]
				}
			},
			"commit read": func(*rapid.T) {
				r.Commit()
				taken = nil
			},
			"revert read": func(*rapid.T) {
				r.Revert()
				published, taken = slices.Concat(taken, published), nil
			},
			"": func(t *rapid.T) {
				free, err := w.Free()
				if want := size - 8 - used(); err != nil || free != want {
					t.Fatalf("free %d, %v, expected %d", free, err, want)
				}
			},
		})
	})
}

func pagedOf(t *rapid.T, size int) *Paged {
	var pages [][]byte
	for range 1 + size/PageSize {
		pages = append(pages, make([]byte, PageSize))
	}
	p, err := NewPaged(pages...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var ignoreOwn = []cmp.Option{cmpopts.IgnoreUnexported(Packet{}), cmpopts.IgnoreFields(Packet{}, "At"), cmpopts.EquateEmpty()}

// asRead returns what a reader gets for a packet that was written.
func asRead(p *Packet) *Packet {
	q := *p
	q.Payload = append(bytes.Clone(p.Payload), make([]byte, -len(p.Payload)&7)...)
	q.HasTransactionID = p.CompletionRequested || p.Type == Completion
	if !q.HasTransactionID {
		q.TransactionID = 0
	}
	return &q
}

// TestExactFit fills a ring of every kind to its last byte, from every start.
func TestExactFit(t *testing.T) {
	for _, mem := range []Memory{newFlat(t, PageSize), newPaged(t, PageSize)} {
		payload := make([]byte, PageSize-8-minPacket)
		for i := range payload {
			payload[i] = byte(i * 7)
		}
		var p Packet
		for start := 0; start < PageSize; start += 8 {
			w, r := newRing(t, mem, start)
			if err := w.Append(&Packet{Type: InBand, Payload: payload}); err != nil {
				t.Fatal(err)
			}
			if err := w.Append(&Packet{Type: InBand}); err != ErrFull {
				t.Fatalf("start %d: a full ring took a packet: %v", start, err)
			}
			w.Commit()
			if free, err := w.Free(); free != 0 || err != nil {
				t.Fatalf("start %d: free %d, %v", start, free, err)
			}
			if err := r.Read(&p); err != nil || !bytes.Equal(p.Payload, payload) {
				t.Fatalf("start %d: %v", start, err)
			}
			if r.Commit(); mem.Control().Out.Load() != mem.Control().In.Load() {
				t.Fatalf("start %d: not empty after the only packet", start)
			}
		}
	}
}

// TestBytesInRing holds a packet against the offset table of spec section 1,
// over memory full of stale bytes.
func TestBytesInRing(t *testing.T) {
	mem := newFlat(t, PageSize)
	for i := range mem.data {
		mem.data[i] = 0xee
	}
	w, _ := newRing(t, mem, 40)
	p := &Packet{Type: InBand, CompletionRequested: true, TransactionID: 0x1122334455667788, Payload: []byte("hello")}
	if err := w.Append(p); err != nil {
		t.Fatal(err)
	}
	want := []byte{
		6, 0, 2, 0, 3, 0, 1, 0, // type, data offset, length, flags
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		'h', 'e', 'l', 'l', 'o', 0, 0, 0, // padding is zeroed
		0, 0, 0, 0, 40, 0, 0, 0, // trailer: where this packet begins
		0xee,
	}
	if got := mem.data[40 : 40+len(want)]; !bytes.Equal(got, want) {
		t.Errorf("% x, expected % x", got, want)
	}
	if in := mem.control.In.Load(); in != 40 {
		t.Errorf("in is %d before the commit", in)
	}
}

// put writes raw bytes as the only packet of a ring, as a peer that follows no
// rule can.
func put(t testing.TB, avail int, words ...uint64) *Reader {
	t.Helper()
	mem := newFlat(t, 2*PageSize)
	const start = 2*PageSize - 24 // across the end
	_, r := newRing(t, mem, start)
	for i, word := range words {
		binary.LittleEndian.PutUint64(mem.data[(start+8*i)%len(mem.data):], word)
	}
	mem.control.In.Store(uint32((start + avail) % len(mem.data)))
	return r
}

func descriptor(typ Type, offset, length, flags uint64) uint64 {
	return uint64(typ) | offset/8<<16 | length/8<<32 | flags<<48
}

// TestRefusals has a case for each rule that a reader must not forget, most
// of them defects of the original or of its peers (spec sections 5 and 6).
func TestRefusals(t *testing.T) {
	const any = 0
	for name, c := range map[string]struct {
		avail int
		words []uint64
		want  Code
	}{
		"no room for the trailer (defect 1)":       {64, []uint64{descriptor(InBand, 16, 64, 0)}, CodeDescriptor},
		"a descriptor alone (defect 1)":            {16, []uint64{descriptor(InBand, 16, 16, 0)}, CodeAvailable},
		"8 bytes":                                  {8, nil, CodeAvailable},
		"length of the next lap":                   {64, []uint64{descriptor(InBand, 16, 65535*8, 0)}, CodeDescriptor},
		"completion flag 2":                        {64, []uint64{descriptor(Completion, 16, 56, 2)}, CodeFlags},
		"type 0":                                   {64, []uint64{descriptor(0, 16, 56, 0)}, CodeType},
		"GPA direct without header (openvmm 3684)": {64, []uint64{descriptor(GPADirect, 16, 56, 1)}, CodeDescriptor},
		"GPA direct without range (openvmm 621)":   {64, []uint64{descriptor(GPADirect, 24, 56, 1), any, 0}, CodeRangeCount},
		"GPA offset beyond a page (openvmm 1842)":  {64, []uint64{descriptor(GPADirect, 40, 56, 1), any, 1 << 32, 1 | 0x1000<<32, any}, CodeRangeOffset},
		"GPA of no bytes":                          {64, []uint64{descriptor(GPADirect, 40, 56, 1), any, 1 << 32, 0, any}, CodeRangeEmpty},
		"GPA sum above 32 bits":                    {64, []uint64{descriptor(GPADirect, 40, 56, 1), any, 1 << 32, 0xffffffff | 0xfff<<32, any}, CodeRangeShort},
		"GPA count above the bytes":                {64, []uint64{descriptor(GPADirect, 40, 56, 1), any, 0xffffffff << 32, 1, any}, CodeRangeShort},
		"GPA range in the payload":                 {64, []uint64{descriptor(GPADirect, 32, 56, 1), any, 1 << 32, 1, any}, CodeRangeShort},
		"transfer pages without header":            {64, []uint64{descriptor(TransferPages, 16, 56, 1)}, CodeDescriptor},
		"transfer count above the bytes":           {64, []uint64{descriptor(TransferPages, 32, 56, 1), any, 2 << 32, any}, CodeRangeShort},
	} {
		t.Run(name, func(t *testing.T) {
			r := put(t, c.avail, c.words...)
			var p Packet
			err := r.Read(&p)
			wantCode(t, err, []Code{c.want})
			if again := r.Read(&p); again != err {
				t.Errorf("did not stick: %v", again)
			}
			if r.Commit() || r.published != 2*PageSize-24 {
				t.Error("the reader moved")
			}
		})
	}
}

// TestAccepted has what looks odd and is allowed.
func TestAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		avail int
		words []uint64
	}{
		"completion that asks for one":     {64, []uint64{descriptor(Completion, 16, 56, 1)}},
		"in-band with an extended header":  {64, []uint64{descriptor(InBand, 40, 56, 0)}},
		"empty payload behind header":      {64, []uint64{descriptor(InBand, 56, 56, 0)}},
		"transfer pages without range":     {64, []uint64{descriptor(TransferPages, 24, 56, 1), 5, 0}},
		"more page numbers than needed":    {64, []uint64{descriptor(GPADirect, 48, 56, 1), 5, 1 << 32, 1, 0, 0}},
		"packet and more":                  {80, []uint64{descriptor(InBand, 16, 56, 0)}},
		"smallest packet":                  {24, []uint64{descriptor(InBand, 16, 16, 0)}},
		"largest packet that avail admits": {2*PageSize - 8, []uint64{descriptor(InBand, 16, 2*PageSize-16, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			var p Packet
			if err := put(t, c.avail, c.words...).Read(&p); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIndexChangesLater: an index is checked whenever it is loaded.
func TestIndexChangesLater(t *testing.T) {
	for _, bad := range []uint32{PageSize, 4, 0xfffffff8} {
		mem := newFlat(t, PageSize)
		w, r := newRing(t, mem, 0)
		if err := w.Append(&Packet{Type: InBand}); err != nil {
			t.Fatal(err)
		}
		mem.control.Out.Store(bad)
		mem.control.InterruptMask.Store(0) // or it would not be looked at
		if w.Commit() {
			t.Error("signalled a broken reader")
		}
		wantCode(t, w.Append(&Packet{Type: InBand}), []Code{CodeIndex})
		var p Packet
		if err := r.Read(&p); err != nil {
			t.Fatal(err)
		}
		mem.control.PendingSendSize.Store(8)
		mem.control.In.Store(bad)
		if r.Commit() {
			t.Error("signalled a broken writer")
		}
		wantCode(t, r.Read(&p), []Code{CodeIndex})
		_, err := r.CanRead()
		wantCode(t, err, []Code{CodeIndex})
	}
}

func TestInvalidPackets(t *testing.T) {
	w, _ := newRing(t, newFlat(t, PageSize), 0)
	for name, p := range map[string]*Packet{
		"no type":                {},
		"GPA without range":      {Type: GPADirect},
		"GPA of no bytes":        {Type: GPADirect, GPARanges: []GPARange{{Len: 0}}},
		"GPA offset":             {Type: GPADirect, GPARanges: []GPARange{{Len: 1, Offset: 4096, PFNs: make([]uint64, 2)}}},
		"GPA pages":              {Type: GPADirect, GPARanges: []GPARange{{Len: 4096, Offset: 1, PFNs: make([]uint64, 1)}}},
		"completion with a wish": {Type: Completion, CompletionRequested: true},
	} {
		if err := w.Append(p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.SetPending(PageSize); !errors.Is(err, ErrLength) {
		t.Errorf("pending send size above the ring: %v", err)
	}
	for _, size := range []int{0, -4096, 4095, 4097, 1 << 33} {
		if _, err := NewFlat(size); !errors.Is(err, ErrInvalid) {
			t.Errorf("ring of %d bytes: %v", size, err)
		}
	}
	if _, err := NewPaged(make([]byte, PageSize)); !errors.Is(err, ErrInvalid) {
		t.Errorf("paged ring without data: %v", err)
	}
	if _, err := NewPaged(make([]byte, PageSize), make([]byte, 100)); !errors.Is(err, ErrInvalid) {
		t.Errorf("paged ring with a short page: %v", err)
	}
}

// TestCallerLimit: a packet above the caller's limit is refused before
// anything is allocated for it.
func TestCallerLimit(t *testing.T) {
	mem := newFlat(t, 2<<20)
	w, _ := newRing(t, mem, 0)
	if err := w.Append(&Packet{Type: InBand, Payload: make([]byte, 500_000)}); err != nil {
		t.Fatal(err)
	}
	w.Commit()
	r, err := NewReader(mem, 4096)
	if err != nil {
		t.Fatal(err)
	}
	var p Packet
	wantCode(t, r.Read(&p), []Code{CodeLimit})
	if cap(p.buf) != 0 {
		t.Errorf("%d bytes were allocated", cap(p.buf))
	}
}

// TestNoAllocations: a packet of any type costs none once the memory of the
// Packet has grown.
func TestNoAllocations(t *testing.T) {
	w, r := newRing(t, newFlat(t, 65536), 0)
	packets := []*Packet{
		{Type: InBand, Payload: make([]byte, 1000)},
		{Type: Completion, TransactionID: 4, Payload: make([]byte, 3)},
		{Type: GPADirect, GPARanges: []GPARange{{Len: 8192, PFNs: make([]uint64, 2)}}, Payload: make([]byte, 50)},
		{Type: TransferPages, TransferRanges: make([]TransferRange, 3)},
	}
	batch := make([]Packet, len(packets))
	round := func() {
		for _, p := range packets {
			if err := w.Append(p, packets[0].Payload); err != nil {
				t.Fatal(err)
			}
		}
		w.Commit()
		if n, err := r.ReadBatch(batch); n != len(batch) || err != nil {
			t.Fatal(n, err)
		}
		r.Commit()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

func TestRequests(t *testing.T) {
	r := Requests[string]{Limit: 2}
	a, _ := r.Begin("a")
	b, _ := r.Begin("b")
	if _, err := r.Begin("c"); err != ErrFull {
		t.Errorf("third of two: %v", err)
	}
	if v, err := r.Complete(&Packet{Type: Completion, TransactionID: b}); v != "b" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	for name, p := range map[string]*Packet{
		"twice":            {Type: Completion, TransactionID: b},
		"never begun":      {Type: Completion, TransactionID: 77},
		"not a completion": {Type: InBand, TransactionID: a},
	} {
		_, err := r.Complete(p)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantCode(t, err, []Code{CodeTransaction})
	}
	if r.Len() != 1 {
		t.Errorf("%d outstanding", r.Len())
	}
}
