package vfs

import (
	"bytes"
	"io"
	"strconv"
)

// ownerByte is the byte of a lock file whose holder the file's content names.
// Whoever holds another byte is not written down anywhere.
const ownerByte = 0

// WriteOwner makes pid and a line feed the content of a lock file. The line
// feed ends what ReadOwner looks at, so that a reader never sees the rest of a
// longer number.
func WriteOwner(w interface {
	io.WriterAt
	Truncate(size int64) error
}, pid int) error {
	b := append(strconv.AppendInt(nil, int64(pid), 10), '\n')
	if _, err := w.WriteAt(b, 0); err != nil {
		return err
	}
	return w.Truncate(int64(len(b)))
}

// ReadOwner returns the process id in a lock file, 0 if there is none.
func ReadOwner(r io.ReaderAt) int {
	var b [24]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return 0
	}
	line, _, ok := bytes.Cut(b[:n], []byte{'\n'})
	pid, err := strconv.Atoi(string(line))
	if !ok || err != nil || pid < 0 {
		return 0
	}
	return pid
}
