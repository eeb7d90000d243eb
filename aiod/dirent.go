package aiod

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"path/filepath"
)

// dirent is one name of a directory.
type dirent struct {
	ino  uint64
	off  int64
	kind uint8 // DT_*
	name string
}

// nextDirent splits the first record off a buffer that getdents64 filled:
// ino 8, off 8, reclen 2, type 1, name, NUL. False at the end, or where the
// rest is not a record.
func nextDirent(b []byte) (d dirent, rest []byte, ok bool) {
	if len(b) < direntName {
		return d, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[16:]))
	if n < direntName || n > len(b) {
		return d, nil, false
	}
	name := b[direntName:n]
	end := bytes.IndexByte(name, 0)
	if end < 0 {
		return d, nil, false
	}
	d.ino = binary.LittleEndian.Uint64(b)
	d.off = int64(binary.LittleEndian.Uint64(b[8:]))
	d.kind = b[18]
	d.name = string(name[:end])
	return d, b[n:], true
}

// encode lays the entry out as the C library's struct dirent, in n bytes.
func (d *dirent) encode(n int) []byte {
	b := make([]byte, n)
	binary.LittleEndian.PutUint64(b, d.ino)
	binary.LittleEndian.PutUint64(b[8:], uint64(d.off))
	reclen := (direntName + len(d.name) + 1 + 7) &^ 7
	binary.LittleEndian.PutUint16(b[16:], uint16(reclen))
	b[18] = d.kind
	copy(b[direntName:], d.name)
	return b
}

// dirEntry is a dirent for package fs. Info asks the daemon.
type dirEntry struct {
	d   dirent
	c   *Client
	dir string
}

func (e *dirEntry) Name() string               { return e.d.name }
func (e *dirEntry) IsDir() bool                { return e.Type().IsDir() }
func (e *dirEntry) Info() (fs.FileInfo, error) { return e.c.Lstat(filepath.Join(e.dir, e.d.name)) }

// Type is of what the directory says; a file system that does not say is asked
// for the file itself.
func (e *dirEntry) Type() fs.FileMode {
	if e.d.kind == 0 {
		if info, err := e.Info(); err == nil {
			return info.Mode().Type()
		}
	}
	// DT_* are the type bits of a mode, shifted.
	return fileMode(uint32(e.d.kind) << 12).Type()
}
