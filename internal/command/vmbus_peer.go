package command

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"loomstore/vmbusring"
	"loomstore/vmbusring/packetgen"
)

// vmbusRun is the document of `vmbus produce --json` and `vmbus consume --json`.
type vmbusRun struct {
	Schema       int     `json:"schema"`
	Ring         int     `json:"ring"`
	Packets      uint64  `json:"packets"`
	PayloadBytes uint64  `json:"payload_bytes"`
	Verified     bool    `json:"verified"`
	Seconds      float64 `json:"seconds"`
}

// vmbusPeer is one end of a ring file, with the flags that produce and consume share.
type vmbusPeer struct {
	size    ringSizeFlag
	packets uint64
	seed    seedFlag
	sizes   sizesFlag
	types   choiceFlag
	role    choiceFlag
	timeout time.Duration
	asJSON  bool
}

func newVMBusProduce(s *streams) *cobra.Command {
	p := newVMBusPeer("guest")
	return p.command(s, "produce", "write generated packets to a ring file", func(ctx context.Context, name string) (*vmbusRun, error) {
		return p.produce(ctx, name)
	})
}

func newVMBusConsume(s *streams) *cobra.Command {
	p := newVMBusPeer("host")
	var verify bool
	c := p.command(s, "consume", "read packets from a ring file", func(ctx context.Context, name string) (*vmbusRun, error) {
		return p.consume(ctx, name, verify)
	})
	c.Flags().BoolVar(&verify, "verify", false, "compare each packet with the generator's")
	return c
}

func newVMBusPeer(role string) *vmbusPeer {
	return &vmbusPeer{
		sizes: sizesFlag{0, 1024},
		types: choiceFlag{value: "inband", choices: []string{"inband", "mixed"}},
		role:  choiceFlag{value: role, choices: []string{"guest", "host"}},
	}
}

func (p *vmbusPeer) command(s *streams, name, short string, run func(context.Context, string) (*vmbusRun, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   name + " --ring-size N --packets M FILE",
		Short: short,
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			start := time.Now()
			result, err := run(c.Context(), args[0])
			if err != nil {
				return damaged(fmt.Errorf("%s %s: %w", name, args[0], err))
			}
			result.Seconds = time.Since(start).Seconds()
			if p.asJSON {
				return s.document(result)
			}
			_, err = fmt.Fprintf(s.out, "ring %d: %d packets, %d bytes of payload\n", result.Ring, result.Packets, result.PayloadBytes)
			return err
		},
	}
	p.size.addTo(c)
	c.Flags().Uint64Var(&p.packets, "packets", 0, "how many packets")
	c.Flags().Var(&p.seed, "seed", "seed of the generator")
	c.Flags().Var(&p.sizes, "sizes", "bounds of the payload's length in bytes")
	c.Flags().Var(&p.types, "types", "in-band packets only, or all types")
	c.Flags().Var(&p.role, "role", "which end: the guest writes to ring 0, the host to ring 1")
	c.Flags().DurationVar(&p.timeout, "timeout", time.Minute, "give up after so long without progress of the other end")
	c.Flags().BoolVar(&p.asJSON, "json", false, "print one JSON document")
	return c
}

func (p *vmbusPeer) stream() packetgen.Stream {
	return packetgen.Stream{Seed: uint64(p.seed), Lo: p.sizes.lo, Hi: p.sizes.hi, Mixed: p.types.value == "mixed"}
}

// produce writes to the ring that goes out from the role's end.
func (p *vmbusPeer) produce(ctx context.Context, name string) (*vmbusRun, error) {
	result := &vmbusRun{Schema: schema}
	if p.role.value == "host" {
		result.Ring = 1
	}
	f, err := vmbusring.OpenFile(name, int(p.size))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w, err := vmbusring.NewWriter(f.Ring(result.Ring))
	if err != nil {
		return nil, err
	}
	g, turn := packetgen.New(p.stream()), newPolling(ctx, p.timeout)
	var packet vmbusring.Packet
	for ; result.Packets < p.packets; result.Packets++ {
		g.Packet(result.Packets, &packet)
		for {
			err := w.Append(&packet)
			if err == nil {
				break
			}
			if !errors.Is(err, vmbusring.ErrFull) {
				return nil, fmt.Errorf("packet %d: %w", result.Packets, err)
			}
			w.Commit()
			if err := turn.wait(); err != nil {
				return nil, fmt.Errorf("packet %d, ring full: %w", result.Packets, err)
			}
		}
		turn.progress()
		w.Commit() // both ends poll: nobody is signalled
		result.PayloadBytes += uint64(len(packet.Payload))
	}
	return result, nil
}

// consume reads from the ring that comes in at the role's end.
func (p *vmbusPeer) consume(ctx context.Context, name string, verify bool) (*vmbusRun, error) {
	result := &vmbusRun{Schema: schema, Verified: verify}
	if p.role.value == "guest" {
		result.Ring = 1
	}
	f, err := vmbusring.OpenFile(name, int(p.size))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := vmbusring.NewReader(f.Ring(result.Ring), 0)
	if err != nil {
		return nil, err
	}
	g, turn := packetgen.New(p.stream()), newPolling(ctx, p.timeout)
	var got, want vmbusring.Packet
	for result.Packets < p.packets {
		err := r.Read(&got)
		if errors.Is(err, vmbusring.ErrEmpty) {
			r.Commit()
			if err := turn.wait(); err != nil {
				return nil, fmt.Errorf("packet %d, ring empty: %w", result.Packets, err)
			}
			continue
		}
		if err == nil && verify {
			g.Packet(result.Packets, &want)
			if err = packetgen.Compare(&got, &want); err != nil {
				err = &exitError{code: ExitDamaged, err: err}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", result.Packets, err)
		}
		turn.progress()
		r.Commit()
		result.Packets++
		result.PayloadBytes += uint64(len(got.Payload))
	}
	return result, nil
}

// polling waits for the other end by looking again: a while without pause,
// then with pauses, and not for ever.
type polling struct {
	ctx     context.Context
	timeout time.Duration
	looks   int
	since   time.Time
}

var errNoProgress = errors.New("the other end makes no progress")

func newPolling(ctx context.Context, timeout time.Duration) *polling {
	return &polling{ctx: ctx, timeout: timeout}
}

func (p *polling) progress() { p.looks = 0 }

func (p *polling) wait() error {
	p.looks++
	const busyLooks = 200
	switch {
	case p.looks == 1:
		p.since = time.Now()
	case p.looks < busyLooks:
		runtime.Gosched()
	default:
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if time.Since(p.since) > p.timeout {
			return errNoProgress
		}
		time.Sleep(20 * time.Microsecond)
	}
	return nil
}

// seedFlag is any number of 64 bits, decimal or 0x.
type seedFlag uint64

func (s *seedFlag) String() string { return strconv.FormatUint(uint64(*s), 10) }
func (s *seedFlag) Type() string   { return "number" }

func (s *seedFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 0, 64)
	*s = seedFlag(n)
	return err
}

// sizesFlag is "lo..hi", both included.
type sizesFlag struct{ lo, hi int }

func (f *sizesFlag) String() string { return fmt.Sprintf("%d..%d", f.lo, f.hi) }
func (f *sizesFlag) Type() string   { return "lo..hi" }

func (f *sizesFlag) Set(text string) error {
	var rest string
	if n, _ := fmt.Sscanf(text, "%d..%d%s", &f.lo, &f.hi, &rest); n != 2 {
		return fmt.Errorf("%q is not lo..hi", text)
	}
	return packetgen.Stream{Lo: f.lo, Hi: f.hi}.Validate()
}
