package aiodfs

import (
	"context"
	"errors"
	"fmt"

	"loomstore/aiod"
	"loomstore/internal/vfs"
)

// Sequence begins an empty sequence.
func (s *FS) Sequence() vfs.Sequence { return &sequence{s: s.c.Sequence()} }

type sequence struct {
	s      *aiod.Sequence
	synced []*aiod.File
}

func remote(f vfs.File) *aiod.File { return f.(*file).f }

func (q *sequence) WriteAt(f vfs.File, p []byte, off int64) { q.s.WriteAt(remote(f), p, off) }

func (q *sequence) Copy(dst vfs.File, dstOff int64, src vfs.File, srcOff, n int64) {
	q.s.Copy(remote(dst), dstOff, remote(src), srcOff, n)
}

func (q *sequence) Truncate(f vfs.File, size int64) { q.s.Truncate(remote(f), size) }

func (q *sequence) WriteBack(f vfs.File, off, n int64) { q.s.WriteBack(remote(f), off, n) }

func (q *sequence) Sync(f vfs.File) {
	q.s.SyncData(remote(f))
	q.synced = append(q.synced, remote(f))
}

func (q *sequence) TakeLock(l vfs.Lock, n int64) { q.s.Lock(l.(*lock).f, n, 1, true) }
func (q *sequence) Unlock(l vfs.Lock, n int64)   { q.s.Unlock(l.(*lock).f, n, 1) }
func (q *sequence) Mark()                        { q.s.Mark() }

func (q *sequence) Submit() (vfs.Submitted, error) {
	p, err := q.s.Submit()
	if errors.Is(err, aiod.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %w", vfs.ErrTooLarge, err)
	}
	if err != nil {
		return nil, err
	}
	return &submitted{p, q.synced}, nil
}

type submitted struct {
	p      *aiod.Pending
	synced []*aiod.File
}

// Marked ends with the mark, the sequence's failure or the daemon's death,
// none of which can be hurried.
func (s *submitted) Marked() error { return s.p.Marked(context.Background()) }

// Wait lets failed syncs be followed by others, as file.Sync does.
func (s *submitted) Wait(ctx context.Context) error {
	n, err := s.p.Wait(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	err = fmt.Errorf("step %d: %w", n, err)
	for _, f := range s.synced {
		err = errors.Join(err, f.ResetSync())
	}
	return err
}
