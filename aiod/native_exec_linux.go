package aiod

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errnoFor is the number that a reply carries for err.
func errnoFor(err error) uint32 {
	var re *RequestError
	if errors.As(err, &re) {
		return re.Errno
	}
	return errnoOf(err)
}

// perform carries out a submission. It calls slow before anything that may
// take long.
func (s *nativeServer) perform(e *Submission, slow func()) (n int64, err error) {
	if s.trace != nil {
		name := s.nameOf(e.Handle) // before it is closed
		defer func() { s.traced(e, name, err) }()
	}
	switch e.op() {
	case nativeNop:
		return 0, nil
	case nativeSequence:
		slow()
		return s.sequence(e)
	case nativeCached:
		return s.readCached(e), nil
	case nativeClose:
		slow()
		return 0, s.files.remove(e.Handle)
	}
	f, err := s.files.find(e.Handle)
	if err != nil {
		return 0, err
	}
	defer f.release()
	switch e.op() {
	case nativeRead:
		n, err := s.read(f, e, slow)
		return int64(n), err
	case nativeWrite:
		n, err := writeAt(f.fd, s.data[e.Buf:e.Buf+e.Len], e.Off)
		return int64(n), err
	case nativeStat:
		var st unix.Stat_t
		if err := unix.Fstat(f.fd, &st); err != nil {
			return 0, err
		}
		statOf(&st).encodeNative(s.data[e.Buf:])
		return nativeStatSize, nil
	}
	slow()
	switch e.op() {
	case nativeSync, nativeSyncData:
		return 0, s.syncFile(f, e.op() == nativeSyncData)
	case nativeTruncate:
		return 0, retry(func() error { return unix.Ftruncate(f.fd, e.Off) })
	case nativeAllocate:
		return 0, retry(func() error {
			return unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, e.Off, int64(e.Len))
		})
	case nativeRenew:
		return 0, retry(func() error {
			return unix.Fallocate(f.fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, e.Off, int64(e.Len))
		})
	case nativeFlush:
		return 0, unix.SyncFileRange(f.fd, e.Off, int64(e.Len), unix.SYNC_FILE_RANGE_WRITE)
	case nativeLock:
		l := unix.Flock_t{Type: [...]int16{unix.F_UNLCK, unix.F_RDLCK, unix.F_WRLCK}[e.Arg], Start: e.Off, Len: int64(e.Len)}
		return 0, retry(func() error { return unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLKW, &l) })
	case nativeReset:
		f.mu.Lock()
		f.syncErr = nil
		f.mu.Unlock()
		return 0, nil
	case nativeMark: // outside a sequence
		return 0, unix.EINVAL
	}
	src, err := s.files.find(e.Buf)
	if err != nil {
		return 0, err
	}
	defer src.release()
	if e.op() == nativeClone {
		return 0, retry(func() error { return unix.IoctlFileClone(f.fd, src.fd) })
	}
	return copyRange(f.fd, src.fd, e.Off, e.Arg, int64(e.Len))
}

// read asks the page cache first: what is there comes without waiting, and
// what is not should hold nobody up.
func (s *nativeServer) read(f *openFile, e *Submission, slow func()) (int, error) {
	p := s.data[e.Buf : e.Buf+e.Len]
	if len(p) == 0 {
		return 0, nil
	}
	n, err := readNow(f.fd, p, e.Off)
	if err == nil && (n == len(p) || n == 0) {
		return n, nil
	}
	if err != nil && err != unix.EAGAIN && err != unix.EOPNOTSUPP && err != unix.EINTR {
		return 0, err
	}
	slow()
	return readAt(f.fd, p, e.Off)
}

// readNow reads from the page cache, or else says EAGAIN.
func readNow(fd int, p []byte, off int64) (int, error) {
	return unix.Preadv2(fd, [][]byte{p}, off, unix.RWF_NOWAIT)
}

// readCached carries out reads, one after the other, as long as they come from
// the page cache and whole. The result is how many did.
func (s *nativeServer) readCached(e *Submission) (done int64) {
	var f *openFile
	var handle uint64
	defer func() {
		if f != nil {
			f.release()
		}
	}()
	for at := e.Buf; at < e.Buf+e.Len; at += submissionSize {
		b := [submissionSize]byte(s.data[at:])
		step, err := DecodeSubmission(&b, uint64(len(s.data)))
		if err != nil || step.op() != nativeRead {
			return done
		}
		if f == nil || step.Handle != handle {
			if f != nil {
				f.release()
			}
			if f, err = s.files.find(step.Handle); err != nil {
				return done
			}
			handle = step.Handle
		}
		n, err := readNow(f.fd, s.data[step.Buf:step.Buf+step.Len], step.Off)
		if err != nil || uint64(n) != step.Len || n == 0 {
			return done
		}
		done++
	}
	return done
}

// syncFile remembers a failure: the kernel reports a lost write once, so a
// later success would be a lie.
func (s *nativeServer) syncFile(f *openFile, dataOnly bool) error {
	f.mu.Lock()
	err := f.syncErr
	f.mu.Unlock()
	if err != nil {
		return err
	}
	// Not again after EINTR: the interrupted call may have consumed the error.
	if err = s.sync(f.fd, dataOnly); err != nil {
		f.mu.Lock()
		f.syncErr = err
		f.mu.Unlock()
	}
	return err
}
