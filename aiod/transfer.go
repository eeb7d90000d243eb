package aiod

import (
	"context"
	"io"
	"sync"
)

// piece is the part of a Block that one request carries.
type piece struct {
	block int
	buf   []byte
	off   int64
	n     int
	err   error
}

// waver carries out pieces at the same time: the first of them, as many as it
// has room for but at least one. It returns their number; an error ends
// everything.
type waver interface {
	wave(ctx context.Context, write bool, pieces []piece) (int, error)
}

// maxWave is how many requests one caller has in flight: a share of them all.
const maxWave = 32

var pieceLists = sync.Pool{New: func() any { return new([]piece) }}

// transferBlocks cuts blocks into pieces of at most maxPiece bytes and has them
// carried out in waves until every block is done or has failed.
//
// A read of 0 bytes is the end of the file. Fewer bytes than asked are gone on
// with.
func transferBlocks(ctx context.Context, w waver, write bool, blocks []Block, maxPiece int) error {
	list := pieceLists.Get().(*[]piece)
	defer pieceLists.Put(list)
	pieces := *list
	defer func() {
		clear(pieces) // the caller's buffers are not to be kept alive
		*list = pieces[:0]
	}()
	for first := 0; first < len(blocks); {
		b := &blocks[first]
		if b.Err != nil || b.N == len(b.Buf) {
			first++
			continue
		}
		pieces = pieces[:0]
		for i := first; i < len(blocks) && len(pieces) < maxWave; i++ {
			pieces = cut(pieces, &blocks[i], i, maxPiece, maxWave)
		}
		n, err := w.wave(ctx, write, pieces)
		if err != nil {
			return err
		}
		settle(write, blocks, pieces[:n])
	}
	return nil
}

// cut appends the pieces of what is left of b.
func cut(pieces []piece, b *Block, i, maxPiece, maxWave int) []piece {
	if b.Err != nil {
		return pieces
	}
	for done := b.N; done < len(b.Buf) && len(pieces) < maxWave; {
		n := min(len(b.Buf)-done, maxPiece)
		pieces = append(pieces, piece{block: i, buf: b.Buf[done : done+n], off: b.Off + int64(done)})
		done += n
	}
	return pieces
}

// settle adds up what the pieces did, each block's up to the first that did
// not do everything.
func settle(write bool, blocks []Block, pieces []piece) {
	stopped := -1
	for i := range pieces {
		p := &pieces[i]
		b := &blocks[p.block]
		if p.block == stopped {
			continue
		}
		b.N += p.n
		switch {
		case p.err != nil:
			b.Err = p.err
		case p.n == 0 && write:
			b.Err = io.ErrShortWrite
		case p.n == 0:
			b.Err = io.EOF
		}
		if p.n < len(p.buf) {
			stopped = p.block
		}
	}
}
