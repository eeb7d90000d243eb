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
	marked  bool
	err     error
}

// step is a submission whose files have no handles yet.
type step struct {
	sub      Submission
	dst, src *File
	data     []byte
}

// ErrTooLarge reports a Sequence that does not fit into one request: of more
// than 16384 steps, or whose WriteAt steps carry more than 1 MiB together.
var ErrTooLarge = errors.New("aiod: sequence too large")

// Pending is a Sequence under way.
type Pending struct {
	done  chan struct{}
	count int
	err   error

	marked  chan struct{} // done, if the sequence has no mark
	markErr error
}

// Marked waits until everything before the mark is done, and returns the error
// of a step that kept the sequence from getting there. Without a mark it waits
// for the end. ErrDied leaves open how far the daemon came; it will not go on.
func (p *Pending) Marked(ctx context.Context) error {
	select {
	case <-p.marked:
		if p.marked == p.done {
			return p.err
		}
		return p.markErr
	case <-ctx.Done():
		return ctx.Err()
	}
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

// WriteBack asks for n bytes at off to be written soon. It does not wait.
func (s *Sequence) WriteBack(f *File, off, n int64) {
	s.add(f, nil, Submission{Op: uint32(nativeFlush), Off: off, Len: uint64(n)}, nil)
}

// Sync makes a file durable. Its failure is final for the file, as is that of
// File.Sync.
func (s *Sequence) Sync(f *File) { s.add(f, nil, Submission{Op: uint32(nativeSync)}, nil) }

// SyncData is Sync without attributes that reading does not need.
func (s *Sequence) SyncData(f *File) { s.add(f, nil, Submission{Op: uint32(nativeSyncData)}, nil) }

// Mark is the place that Pending.Marked waits for. A sequence has one at most.
func (s *Sequence) Mark() {
	if s.marked {
		s.err = fmt.Errorf("aiod: step %d: a second mark", len(s.steps))
	}
	s.marked = true
	s.add(nil, nil, Submission{Op: uint32(nativeMark)}, nil)
}

// Lock takes an open file description lock on n bytes at off of f, and waits
// as long as another description has one that forbids it. It is f's, in this
// process (File.OS) as in the daemon.
func (s *Sequence) Lock(f *File, off, n int64, exclusive bool) {
	kind := int64(lockShared)
	if exclusive {
		kind = lockExclusive
	}
	s.add(f, nil, Submission{Op: uint32(nativeLock), Off: off, Len: uint64(n), Arg: kind}, nil)
}

// Unlock gives the lock back.
func (s *Sequence) Unlock(f *File, off, n int64) {
	s.add(f, nil, Submission{Op: uint32(nativeLock), Off: off, Len: uint64(n), Arg: unlock}, nil)
}

func (s *Sequence) add(dst, src *File, sub Submission, data []byte) {
	if sub.Off < 0 || sub.Arg < 0 || sub.Len > maxCopy {
		s.err = fmt.Errorf("aiod: step %d: offset or length out of range", len(s.steps))
	}
	s.steps = append(s.steps, step{sub, dst, src, data})
}

// Submit hands the sequence over as one request. After an error nothing of it
// is done.
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
		if f := s.steps[i].dst; f != nil {
			if err := f.usable("sequence"); err != nil {
				return nil, err
			}
		}
	}
	return b.submit(s.c.ctx, s)
}
