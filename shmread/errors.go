package shmread

import (
	"errors"
	"fmt"
	"io/fs"
)

// The kinds of error of the original, for errors.Is.
var (
	// ErrSyscall: the file could not be opened, read or mapped. The
	// syscall.Errno is reachable with errors.As; a missing file is also
	// fs.ErrNotExist.
	ErrSyscall = errors.New("shmread: system call failed")
	// ErrNotInitialized: no daemon has written a record yet.
	ErrNotInitialized = errors.New("shmread: segment not initialized")
	// ErrMalformed: the bytes contradict the layout or each other.
	ErrMalformed = errors.New("shmread: segment malformed")
	// ErrCausalityBreach: the record was made in the future of this
	// process's monotonic clock.
	ErrCausalityBreach = errors.New("shmread: causality breach")
	// ErrVersionNotSupported: the segment has another layout.
	ErrVersionNotSupported = errors.New("shmread: segment version not supported")
)

var (
	// ErrBusy is the ErrNotInitialized of a segment or VMClock page that
	// stayed in the middle of an update for the whole bounded wait: its
	// writer died there, or was not scheduled.
	ErrBusy = fmt.Errorf("%w: update in progress", ErrNotInitialized)
	// ErrVersion3 is the ErrVersionNotSupported of a version 3 segment. Its
	// layout is known from publications only; see Options.UnverifiedV3.
	ErrVersion3 = fmt.Errorf("%w: version 3 is unverified", ErrVersionNotSupported)
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

var errClosed = fmt.Errorf("shmread: reader: %w", fs.ErrClosed)
