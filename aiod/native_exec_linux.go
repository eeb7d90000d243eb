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
func (s *nativeServer) perform(e *Submission, slow func()) (int64, error) {
	switch e.op() {
	case nativeNop:
		return 0, nil
	case nativeSequence:
		slow()
		return s.sequence(e)
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
	case nativeFlush:
		return 0, unix.SyncFileRange(f.fd, e.Off, int64(e.Len), unix.SYNC_FILE_RANGE_WRITE)
	}
	src, err := s.files.find(e.Buf)
	if err != nil {
		return 0, err
	}
	defer src.release()
	if e.op() == nativeClone {
		return 0, retry(func() error { return unix.IoctlFileClone(f.fd, src.fd) })
	}
	n, err := copyRange(f.fd, src.fd, e.Off, e.Arg, int64(e.Len))
	return n, err
}

// read asks the page cache first: what is there comes without waiting, and
// what is not should hold nobody up.
func (s *nativeServer) read(f *openFile, e *Submission, slow func()) (int, error) {
	p := s.data[e.Buf : e.Buf+e.Len]
	if len(p) == 0 {
		return 0, nil
	}
	n, err := unix.Preadv2(f.fd, [][]byte{p}, e.Off, unix.RWF_NOWAIT)
	if err == nil && (n == len(p) || n == 0) {
		return n, nil
	}
	if err != nil && err != unix.EAGAIN && err != unix.EOPNOTSUPP && err != unix.EINTR {
		return 0, err
	}
	slow()
	return readAt(f.fd, p, e.Off)
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
	err = retry(func() error { return s.sync(f.fd, dataOnly) })
	if err != nil {
		f.mu.Lock()
		f.syncErr = err
		f.mu.Unlock()
	}
	return err
}

// sequence carries out submissions one after the other, from a private copy of
// them, up to the first that fails or does less than it should. The result is
// how many were done.
func (s *nativeServer) sequence(e *Submission) (int64, error) {
	steps := append([]byte(nil), s.data[e.Buf:e.Buf+e.Len]...)
	done := int64(0)
	for ; len(steps) > 0; steps = steps[submissionSize:] {
		step, err := DecodeSubmission((*[submissionSize]byte)(steps), uint64(len(s.data)))
		if err == nil && step.op() == nativeSequence {
			err = unix.ELOOP
		}
		if err == nil {
			err = s.step(&step)
		}
		if err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}

// step is perform for all of a write, not part of it.
func (s *nativeServer) step(e *Submission) error {
	for {
		n, err := s.perform(e, func() {})
		if err != nil || e.op() != nativeWrite || uint64(n) == e.Len {
			return err
		}
		if n == 0 {
			return unix.EIO
		}
		e.Buf, e.Len, e.Off = e.Buf+uint64(n), e.Len-uint64(n), e.Off+n
	}
}

// copyRange copies n bytes between files, in the kernel where it can.
func copyRange(dst, src int, dstOff, srcOff, n int64) (int64, error) {
	done, inKernel := int64(0), true
	var buf []byte
	for done < n {
		from, to := srcOff+done, dstOff+done
		var k int
		var err error
		if inKernel {
			k, err = unix.CopyFileRange(src, &from, dst, &to, int(min(n-done, 1<<30)), 0)
			switch err {
			case unix.EXDEV, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSYS:
				inKernel = false
				buf = make([]byte, min(n-done, 256<<10))
				continue
			case unix.EINTR:
				continue
			}
		} else {
			k, err = readAt(src, buf[:min(n-done, int64(len(buf)))], from)
			for wrote := 0; err == nil && wrote < k; {
				var w int
				w, err = writeAt(dst, buf[wrote:k], to+int64(wrote))
				wrote += w
			}
		}
		if err != nil {
			return done, err
		}
		if k == 0 {
			return done, unix.ENODATA // the source is shorter than that
		}
		done += int64(k)
	}
	return done, nil
}
