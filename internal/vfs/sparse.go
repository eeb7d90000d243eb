package vfs

import "errors"

// Sparse is a file that knows its holes.
type Sparse interface {
	// NextData returns the first offset from off on where there may be more
	// than a hole; behind the last, the length. Before it are zeros.
	NextData(off int64) (int64, error)
}

// NextData is f's, and off for a file that does not know its holes.
func NextData(f File, off int64) (int64, error) {
	s, ok := f.(Sparse)
	if !ok {
		return off, nil
	}
	next, err := s.NextData(off)
	if errors.Is(err, errors.ErrUnsupported) {
		return off, nil
	}
	return next, err
}
