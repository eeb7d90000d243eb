package aiod

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// nameOf is what an open file is called now, for the trace.
func (s *nativeServer) nameOf(h uint64) string {
	f, err := s.files.find(h)
	if err != nil {
		return "?"
	}
	defer f.release()
	name, err := readlink(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.fd), pathMax)
	if err != nil {
		return "?"
	}
	return name
}

// traced reports an operation on an open file that is over. A sequence shows
// as its steps.
func (s *nativeServer) traced(e *Submission, name string, err error) {
	var detail string
	switch e.op() {
	case nativeNop, nativeSequence:
		return
	case nativeRead, nativeWrite, nativeAllocate, nativeFlush, nativeRenew:
		detail = fmt.Sprintf(" %d+%d", e.Off, e.Len)
	case nativeCopy:
		detail = fmt.Sprintf(" %d+%d from %s %d", e.Off, e.Len, s.nameOf(e.Buf), e.Arg)
	case nativeClone:
		detail = " from " + s.nameOf(e.Buf)
	case nativeTruncate:
		detail = fmt.Sprintf(" %d", e.Off)
	case nativeLock:
		detail = fmt.Sprintf(" %d %s", e.Off, [...]string{"unlock", "shared", "exclusive"}[e.Arg])
	}
	fmt.Fprintf(s.trace, "aiod: %s %s%s: err %d\n", nativeNames[e.Op], name, detail, traced(err))
}

// tracedName reports an operation on names that is over.
func (s *nativeServer) tracedName(r *controlRequest, err error) {
	op := r.op.String()
	switch r.op {
	case opRmdir:
		op = "RMDIR"
	case opAdopt:
		op = "ADOPT"
	}
	fmt.Fprintf(s.trace, "aiod: %s %s %s: err %d\n", op, r.path1, r.path2, traced(err))
}
