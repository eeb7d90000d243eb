package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"loomstore/internal/ringload"
	"loomstore/shmring"
)

// ringTraffic is one of the commands that send messages through a pair.
type ringTraffic struct {
	name, short string
	run         func(r *ringRun) error
}

var ringTraffics = []ringTraffic{
	{"push", "push generated messages", (*ringRun).push},
	{"pop", "pop messages", (*ringRun).pop},
	{"ping", "push each generated message and pop its answer", (*ringRun).ping},
	{"echo", "pop messages and push them back", (*ringRun).echo},
}

// ringRun is one run of such a command.
type ringRun struct {
	ctx      context.Context
	producer *shmring.Producer
	consumer *shmring.Consumer
	creates  bool
	messages int
	verify   bool
	eof      bool
	stream   *ringload.Generator
	digest   *ringload.Digest
	buf      []byte
}

// ringResult is the document that each of them prints last.
type ringResult struct {
	Schema   int    `json:"schema"`
	Op       string `json:"op"`
	Messages int    `json:"messages"` // that passed, also when the run failed
	Bytes    int64  `json:"bytes"`
	Sum      string `json:"fnv1a64"`
	EOF      bool   `json:"eof"`      // the end of the stream was sent or seen as asked
	Verified bool   `json:"verified"` // every message was compared with the stream
}

func newRingTraffic(s *streams, t ringTraffic) *cobra.Command {
	var (
		seed    uint64
		sizes   string
		plain   bool
		wait    time.Duration
		timeout time.Duration
	)
	r := &ringRun{}
	c := &cobra.Command{
		Use:   t.name + " {create|open} NAME",
		Short: t.short,
		Args:  usageArgs(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			lo, hi, err := parseSizes(sizes)
			if err != nil {
				return err
			}
			if args[0] != "create" && args[0] != "open" || r.messages < 0 {
				return &exitError{code: ExitUsage, err: errors.New("want create or open, and no negative --messages"), hint: "usage: " + c.UseLine()}
			}
			ctx := c.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			r.ctx, r.creates = ctx, args[0] == "create"
			r.stream, r.digest = ringload.New(seed, lo, hi), ringload.NewDigest()
			r.buf = make([]byte, shmring.MaxMessage)
			pair, err := ringAttach(ctx, args[1], r.creates, wait, &shmring.Options{Plain: plain})
			if errors.Is(err, shmring.ErrName) {
				return ringError(err)
			}
			if err == nil {
				err = r.use(pair, t)
			}
			printed := s.ringJSON(&ringResult{
				Schema: schema, Op: t.name, Messages: r.digest.Messages, Bytes: r.digest.Bytes, Sum: fmt.Sprintf("%016x", r.digest.Sum64()),
				EOF: r.eof && err == nil, Verified: r.verify && err == nil && t.name != "push",
			})
			return errors.Join(ringError(err), printed)
		},
	}
	f := c.Flags()
	f.IntVar(&r.messages, "messages", 1000, "number of messages")
	f.Uint64Var(&seed, "seed", 1, "seed of the message stream")
	f.StringVar(&sizes, "sizes", "1..256", "range of message sizes in bytes, LO..HI")
	f.BoolVar(&r.verify, "verify", false, "compare every popped message with the stream")
	f.BoolVar(&r.eof, "eof", false, "send the end of the stream behind what is pushed, expect it behind what is popped")
	f.BoolVar(&plain, "plain", false, "do without a control block, as the original does")
	f.DurationVar(&wait, "wait", 5*time.Second, "with open: how long to wait for the pair to be created")
	f.DurationVar(&timeout, "timeout", 0, "end the whole run after this time (0 = never)")
	return c
}

func parseSizes(s string) (lo, hi int, err error) {
	if n, err := fmt.Sscanf(s, "%d..%d", &lo, &hi); n != 2 || err != nil || fmt.Sprintf("%d..%d", lo, hi) != s || lo < 1 || hi < lo || hi > shmring.MaxMessage {
		return 0, 0, &exitError{code: ExitUsage, err: fmt.Errorf("sizes %q: want LO..HI with 1 <= LO <= HI <= %d", s, shmring.MaxMessage)}
	}
	return lo, hi, nil
}

// ringAttach creates the pair, or opens it as soon as it exists. A creator of
// upstream's names its objects before they have their size.
func ringAttach(ctx context.Context, name string, create bool, wait time.Duration, o *shmring.Options) (*shmring.Pair, error) {
	if create {
		return shmring.Create(name, o)
	}
	until := time.Now().Add(wait)
	for {
		pair, err := shmring.Open(name, o)
		var corrupt *shmring.CorruptError
		young := errors.Is(err, fs.ErrNotExist) || errors.As(err, &corrupt) && corrupt.Defect == shmring.DefectSize
		if err == nil || !young || time.Now().After(until) {
			return pair, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (r *ringRun) use(pair *shmring.Pair, t ringTraffic) (err error) {
	defer func() { err = errors.Join(err, pair.Close()) }()
	if r.producer, err = pair.Producer(); err != nil {
		return err
	}
	if r.consumer, err = pair.Consumer(); err != nil {
		return err
	}
	return t.run(r)
}

func (r *ringRun) push() error {
	for range r.messages {
		if err := r.send(r.stream.Next()); err != nil {
			return err
		}
	}
	return r.finish()
}

func (r *ringRun) pop() error {
	for i := range r.messages {
		m, err := r.receive(i)
		if err != nil {
			return err
		}
		if err := r.check(m); err != nil {
			return err
		}
		r.digest.Add(m)
	}
	return r.expectEnd()
}

func (r *ringRun) ping() error {
	for i := range r.messages {
		sent := r.stream.Next()
		if err := r.send(sent); err != nil {
			return err
		}
		got, err := r.receive(i)
		if err != nil {
			return err
		}
		if r.verify && !bytes.Equal(got, sent) {
			return fmt.Errorf("answer %d differs from the message: %d bytes for %d", i, len(got), len(sent))
		}
	}
	if err := r.finish(); err != nil {
		return err
	}
	return r.expectEnd()
}

func (r *ringRun) echo() error {
	for i := range r.messages {
		m, err := r.receive(i)
		if err != nil {
			return err
		}
		if err := r.check(m); err != nil {
			return err
		}
		if err := r.send(m); err != nil {
			return err
		}
	}
	if err := r.expectEnd(); err != nil {
		return err
	}
	return r.finish()
}

func (r *ringRun) send(m []byte) error {
	if err := r.producer.Push(r.ctx, m); err != nil {
		return fmt.Errorf("push message %d: %w", r.digest.Messages, err)
	}
	r.digest.Add(m)
	return nil
}

func (r *ringRun) receive(message int) ([]byte, error) {
	n, err := r.consumer.Pop(r.ctx, r.buf)
	if err != nil {
		return nil, fmt.Errorf("pop message %d: %w", message, err)
	}
	return r.buf[:n], nil
}

func (r *ringRun) check(m []byte) error {
	if !r.verify {
		return nil
	}
	if want := r.stream.Next(); !bytes.Equal(m, want) {
		return fmt.Errorf("message %d differs from the stream: %d bytes, want %d", r.digest.Messages, len(m), len(want))
	}
	return nil
}

func (r *ringRun) expectEnd() error {
	if !r.eof {
		return nil
	}
	switch _, err := r.consumer.Pop(r.ctx, r.buf); err {
	case io.EOF:
		return nil
	case nil:
		return errors.New("a message behind the last one, want the end of the stream")
	default:
		return fmt.Errorf("pop the end of the stream: %w", err)
	}
}

// lingers is how long a creator that has ended its stream keeps the names for
// a peer that may not care for the end.
const lingers = 5 * time.Second

// finish ends the stream. A creator stays until the peer has popped
// everything, since it takes the names with it.
func (r *ringRun) finish() error {
	if r.creates {
		if err := r.producer.Drain(r.ctx); err != nil {
			return fmt.Errorf("wait for the peer to pop everything: %w", err)
		}
	}
	if !r.eof {
		return nil
	}
	if err := r.producer.CloseWrite(r.ctx); err != nil {
		return fmt.Errorf("push the end of the stream: %w", err)
	}
	if r.creates {
		ctx, cancel := context.WithTimeout(r.ctx, lingers)
		defer cancel()
		_ = r.producer.Drain(ctx) // every message has arrived: the end is the peer's affair
	}
	return nil
}
