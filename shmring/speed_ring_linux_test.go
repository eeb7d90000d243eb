package shmring

import (
	"bytes"
	"context"
	"errors"
)

// ringEnds is a ring of ours and the way to use it.
type ringEnds struct {
	pair *Pair
	p    *Producer
	c    *Consumer
	style
}

type style interface {
	push(p *Producer, m []byte, n int) error
	pop(c *Consumer, buf []byte, n int) error
}

func ringLine(s style) func(string, bool) (line, error) {
	return func(name string, first bool) (line, error) {
		make := Open
		if first {
			make = Create
		}
		pair, err := make(name, nil)
		if err != nil {
			return nil, err
		}
		p, _ := pair.Producer()
		c, _ := pair.Consumer()
		return &ringEnds{pair, p, c, s}, nil
	}
}

func (r *ringEnds) send(n, size int) error {
	if err := r.push(r.p, message(size, 7), n); err != nil {
		return err
	}
	return r.p.Drain(context.Background())
}

func (r *ringEnds) receive(n, size int) error { return r.pop(r.c, make([]byte, size), n) }

func (r *ringEnds) turn(n, size int) error {
	m, buf := message(size, 7), make([]byte, size)
	for range n {
		if err := r.push(r.p, m, 1); err != nil {
			return err
		}
		if err := r.pop(r.c, buf, 1); err != nil {
			return err
		}
	}
	return nil
}

func (r *ringEnds) answer(n, size int) error {
	buf := message(size, 7)
	for range n {
		if err := r.pop(r.c, buf, 1); err != nil {
			return err
		}
		if err := r.push(r.p, buf, 1); err != nil {
			return err
		}
	}
	return r.p.Drain(context.Background())
}

func (r *ringEnds) Close() error { return r.pair.Close() }

type pushPop struct{}

func (pushPop) push(p *Producer, m []byte, n int) error {
	ctx := context.Background()
	for range n {
		if err := p.Push(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (pushPop) pop(c *Consumer, buf []byte, n int) error {
	ctx := context.Background()
	for range n {
		if _, err := c.Pop(ctx, buf); err != nil {
			return err
		}
	}
	return nil
}

type batches struct{}

const batchOf = 1024

func (batches) push(p *Producer, m []byte, n int) error {
	ms := make([][]byte, batchOf)
	for i := range ms {
		ms[i] = m
	}
	for n > 0 {
		k, err := p.PushBatch(context.Background(), ms[:min(n, batchOf)])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func (batches) pop(c *Consumer, buf []byte, n int) error {
	buf, ends := make([]byte, 65536), make([]int, batchOf)
	for n > 0 {
		k, err := c.PopBatch(context.Background(), buf, ends[:min(n, batchOf)])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// zeroCopy fills a message in place and looks at every byte of it in place.
type zeroCopy struct{}

func (zeroCopy) push(p *Producer, m []byte, n int) error {
	ctx := context.Background()
	for range n {
		head, tail, err := p.Reserve(ctx, len(m))
		if err != nil {
			return err
		}
		copy(tail, m[copy(head, m):])
		if err := p.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func (zeroCopy) pop(c *Consumer, buf []byte, n int) error {
	ctx := context.Background()
	for range n {
		head, tail, err := c.Peek(ctx)
		if err != nil {
			return err
		}
		// Every byte is read in place, as a copy would have read it.
		if bytes.Count(head, sevens)+bytes.Count(tail, sevens) != len(buf) {
			return errors.New("message differs from the one sent")
		}
		if err := c.Release(); err != nil {
			return err
		}
	}
	return nil
}

// zeroCopyBatch is zeroCopy with many messages to a Commit and a Release.
type zeroCopyBatch struct{}

func (zeroCopyBatch) push(p *Producer, m []byte, n int) error {
	ctx := context.Background()
	most := min(64, 16384/len(m))
	for held := 0; n > 0; n-- {
		head, tail, err := p.Reserve(ctx, len(m))
		if err != nil {
			return err
		}
		copy(tail, m[copy(head, m):])
		if held++; held >= most || n == 1 {
			held = 0
			if err := p.Commit(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (zeroCopyBatch) pop(c *Consumer, buf []byte, n int) error {
	ctx := context.Background()
	most := min(64, 16384/len(buf))
	for held := 0; n > 0; n-- {
		head, tail, err := c.Peek(ctx)
		if err != nil {
			return err
		}
		if bytes.Count(head, sevens)+bytes.Count(tail, sevens) != len(buf) {
			return errors.New("message differs from the one sent")
		}
		if held++; held >= most || n == 1 {
			held = 0
			if err := c.Release(); err != nil {
				return err
			}
		}
	}
	return nil
}

var sevens = []byte{7}
