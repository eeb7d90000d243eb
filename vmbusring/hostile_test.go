//go:build linux

package vmbusring_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"loomstore/internal/mapping"
	"loomstore/vmbusring"
	"loomstore/vmbusring/signal"
)

// scribbleMain is a peer: FILE SIZE. It writes to every word that it shares
// with us for as long as it lives: noise, and values that come close to good
// ones, which get further into the code.
func scribbleMain(args []string) error {
	size := number(args[1])
	file, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	view, err := mapping.MapShared(file.Fd(), 0, int(vmbusring.FileSize(size)), true)
	if err != nil {
		return err
	}
	fmt.Println("scribbling")
	rng := rand.New(rand.NewPCG(1, 2))
	for half := 0; ; half = vmbusring.PageSize + size - half {
		for range 64 {
			off := half + vmbusring.PageSize + rng.IntN(size/8)*8
			view.Uint64(off).Store(plausible(rng))
		}
		for _, word := range []int{0, 4, 8, 12, 64} {
			v := rng.Uint32N(uint32(size)) &^ 7
			if rng.IntN(8) == 0 {
				v = rng.Uint32()
			}
			view.Uint32(half + word).Store(v)
		}
	}
}

// plausible returns a word that may pass for a descriptor, a range or a header.
func plausible(rng *rand.Rand) uint64 {
	switch rng.IntN(4) {
	case 0:
		types := []uint64{6, 7, 9, 0xb, 6, 9}
		off := 2 + rng.Uint64N(4)
		typ, flags := types[rng.IntN(len(types))], rng.Uint64N(2)
		switch rng.IntN(16) {
		case 0:
			typ = rng.Uint64N(16)
		case 1:
			flags = rng.Uint64N(1 << 16)
		}
		return typ | off<<16 | (off+rng.Uint64N(20))<<32 | flags<<48
	case 1:
		return (1 + rng.Uint64N(3)) << 32
	case 2:
		return rng.Uint64N(64) | rng.Uint64N(3)<<32
	default:
		return rng.Uint64()
	}
}

// TestHostilePeer works on rings while another process scribbles over every
// word of them. Whatever happens must be an error that we know, within the
// limits on memory: no panic, no endless loop.
func TestHostilePeer(t *testing.T) {
	t.Parallel()
	duration := 5 * time.Second
	if soak() {
		duration = 10 * time.Minute
	}
	const size, maxPacket = 4096, 1024
	name := filepath.Join(t.TempDir(), "ring")
	f, err := vmbusring.OpenFile(name, size)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scribbler := startPeer(t, "scribble", nil, name, size)
	if !scribbler.out.Scan() {
		t.Fatal("the scribbler did not start")
	}
	seen := map[string]int{}
	note := func(err error) {
		var corrupt *vmbusring.CorruptError
		switch {
		case err == nil:
			seen["ok"]++
		case errors.As(err, &corrupt):
			seen[string(corrupt.Code)]++
		case err == vmbusring.ErrEmpty, err == vmbusring.ErrFull, err == io.EOF, err == os.ErrDeadlineExceeded:
			seen[err.Error()]++
		default:
			var large *vmbusring.MessageTooLargeError
			if !errors.As(err, &large) {
				t.Fatalf("unknown error: %v", err)
			}
			seen["too large"]++
		}
	}
	h := &hostileRound{t: t, file: f, note: note, maxPacket: maxPacket, payload: make([]byte, 100), buf: make([]byte, 256)}
	// The noise must have reached the checks behind the first ones; on a slow
	// machine that takes longer.
	wanted := []string{
		"ok", string(vmbusring.CodeIndex), string(vmbusring.CodeDescriptor), string(vmbusring.CodeFlags),
		string(vmbusring.CodeType), string(vmbusring.CodeRangeCount), string(vmbusring.CodeRangeShort),
		string(vmbusring.CodePipePacket), string(vmbusring.CodePipeType),
	}
	missing := func() []string {
		return slices.DeleteFunc(slices.Clone(wanted), func(code string) bool { return seen[code] > 0 })
	}
	start := time.Now()
	rounds := 0
	for elapsed := time.Duration(0); elapsed < duration || elapsed < 20*duration && len(missing()) > 0; rounds++ {
		h.read()
		h.pipes()
		h.write()
		if rounds%64 == 0 {
			h.channel()
			elapsed = time.Since(start)
		}
	}
	t.Log(rounds, "rounds:", seen)
	if codes := missing(); len(codes) > 0 {
		t.Errorf("never happened: %v", codes)
	}
}

// hostileRound opens ends anew, as their corruption is for ever, and uses them.
type hostileRound struct {
	t         *testing.T
	file      *vmbusring.File
	note      func(error)
	maxPacket int
	payload   []byte
	buf       []byte
	packet    vmbusring.Packet
}

func (h *hostileRound) read() {
	r, err := vmbusring.NewReader(h.file.Ring(0), h.maxPacket)
	if err != nil {
		h.note(err)
		return
	}
	for range 100 {
		err := r.Read(&h.packet)
		h.note(err)
		if errors.Is(err, vmbusring.ErrCorrupt) {
			if again := r.Read(&h.packet); again != err {
				h.t.Fatalf("%v did not stick: %v", err, again)
			}
			return
		}
		if err == nil {
			h.checkPacket()
		}
		r.Commit()
		r.SetInterruptMask(false)
	}
}

// checkPacket holds a packet that was accepted against what Read promises.
func (h *hostileRound) checkPacket() {
	p := &h.packet
	if len(p.Payload) > h.maxPacket || len(p.Payload)%8 != 0 {
		h.t.Fatalf("payload of %d bytes", len(p.Payload))
	}
	words := 0
	for _, g := range p.GPARanges {
		need := (uint64(g.Offset) + uint64(g.Len) + 4095) / 4096
		if g.Len == 0 || g.Offset > 0xfff || uint64(len(g.PFNs)) != need {
			h.t.Fatalf("range %+v", g)
		}
		words += 1 + len(g.PFNs)
	}
	if words+len(p.TransferRanges) > h.maxPacket/8 {
		h.t.Fatalf("%d GPA words and %d transfer ranges", words, len(p.TransferRanges))
	}
}

func (h *hostileRound) pipes() {
	for _, mode := range []vmbusring.PipeMode{vmbusring.PipeByte, vmbusring.PipeMessage, vmbusring.PipeRaw} {
		r, err := vmbusring.NewReader(h.file.Ring(0), h.maxPacket)
		if err != nil {
			h.note(err)
			continue
		}
		d := vmbusring.NewPipeDecoder(mode)
		for range 20 {
			_, err := d.Read(r, h.buf)
			h.note(err)
			if errors.Is(err, vmbusring.ErrCorrupt) {
				break
			}
			r.Commit()
		}
	}
}

func (h *hostileRound) write() {
	w, err := vmbusring.NewWriter(h.file.Ring(1))
	if err != nil {
		h.note(err)
		return
	}
	p := vmbusring.Packet{Type: vmbusring.InBand, Payload: h.payload}
	for range 100 {
		err := w.Append(&p)
		h.note(err)
		if errors.Is(err, vmbusring.ErrCorrupt) {
			return
		}
		w.Commit()
		_, err = w.CanWrite(500)
		h.note(err)
		if err := w.SetPending(500); err != nil {
			h.t.Fatal(err)
		}
	}
}

// channel uses a whole pipe, which may have to wait for what never comes.
func (h *hostileRound) channel() {
	ours, theirs := signal.NewLocal()
	c, err := vmbusring.NewChannel(h.file.Ring(0), h.file.Ring(1), ours, &vmbusring.Options{MaxPacket: h.maxPacket})
	if err != nil {
		h.note(err)
		return
	}
	b := vmbusring.NewBytePipe(c)
	defer b.Close()
	for range 10 {
		if err := theirs.Notify(); err != nil {
			h.t.Fatal(err)
		}
		b.SetDeadline(time.Now().Add(time.Millisecond))
		_, err := b.Read(h.buf)
		h.note(err)
		_, err = b.Write(h.payload)
		h.note(err)
	}
}
