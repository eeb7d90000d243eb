package aiod

import (
	"context"
	"errors"
	"fmt"
)

// Sequence is operations that a native daemon carries out in order, up to the
// first that fails. Once Submit has returned without an error the daemon will
// do so even if this process is killed at once: so a
// checkpoint that is durable in one file can be applied to another behind the
// program's back. Not safe for concurrent use.
type Sequence struct {
	c       *Client
	steps   []step
	payload int
	err     error
}

// step is a submission whose files have no handles yet.
type step struct {
	sub      Submission
	dst, src *File
	data     []byte
}

// ErrTooLarge reports a Sequence that does not fit into one request: 16384
// steps, 64 bytes each, less the bytes that WriteAt steps carry.
var ErrTooLarge = errors.New("aiod: sequence too large")

// Pending is a Sequence under way.
type Pending struct {
	done  chan struct{}
	count int
	err   error
}

// Wait returns how many steps were done, and the error of the one that was
// not. A sequence that ctx gives up goes on.
func (p *Pending) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.count, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Sequence starts an empty sequence.
func (c *Client) Sequence() *Sequence { return &Sequence{c: c} }

// WriteAt writes p, which is copied at Submit. Writing less is a failure.
func (s *Sequence) WriteAt(f *File, p []byte, off int64) {
	s.payload += len(p)
	s.add(f, nil, Submission{Op: uint32(nativeWrite), Off: off, Len: uint64(len(p))}, p)
}

// Copy copies n bytes between files. A source that ends before is a failure.
func (s *Sequence) Copy(dst *File, dstOff int64, src *File, srcOff, n int64) {
	s.add(dst, src, Submission{Op: uint32(nativeCopy), Off: dstOff, Arg: srcOff, Len: uint64(n)}, nil)
}

// Truncate sets a file's length.
func (s *Sequence) Truncate(f *File, size int64) {
	s.add(f, nil, Submission{Op: uint32(nativeTruncate), Off: size}, nil)
}

// Sync makes a file durable. Its failure is final for the file, as is that of
// File.Sync.
func (s *Sequence) Sync(f *File) { s.add(f, nil, Submission{Op: uint32(nativeSync)}, nil) }

// SyncData is Sync without attributes that reading does not need.
func (s *Sequence) SyncData(f *File) { s.add(f, nil, Submission{Op: uint32(nativeSyncData)}, nil) }

func (s *Sequence) add(dst, src *File, sub Submission, data []byte) {
	if sub.Off < 0 || sub.Arg < 0 || sub.Len > maxCopy {
		s.err = fmt.Errorf("aiod: step %d: offset or length out of range", len(s.steps))
	}
	s.steps = append(s.steps, step{sub, dst, src, data})
}

// Submit hands the sequence over as one request.
func (s *Sequence) Submit() (*Pending, error) {
	if s.err != nil {
		return nil, s.err
	}
	b, ok := s.c.b.(interface {
		submit(ctx context.Context, s *Sequence) (*Pending, error)
	})
	if !ok {
		return nil, fmt.Errorf("aiod: sequence %w", errNative)
	}
	for i := range s.steps {
		if err := s.steps[i].dst.usable("sequence"); err != nil {
			return nil, err
		}
	}
	return b.submit(s.c.ctx, s)
}
