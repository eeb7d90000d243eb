package crash

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
)

// vere is a model of the protocol of vere's snapshots, operation for operation
// (spec/vere.md section 3), with pages of any size. It is here to be found
// wrong: an explorer that does not see what is known of it sees nothing.
type vere struct{ size int }

func (p vere) pageSize() int { return p.size }

func at(name string) string { return filepath.Join(storeDir, name) }

// open is u3e_live: take the image, apply a patch that verifies, delete one
// that does not.
func (p vere) open(fsys vfs.FS) (session, error) {
	phase(fsys, "open")
	if err := fsys.Mkdir(storeDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	image, err := fsys.OpenFile(at("image.bin"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &vereSession{p: p, fsys: fsys, image: image, still: true}
	// Any error counts as "no patch" (W9).
	control, err := fsys.OpenFile(at("control.bin"), os.O_RDWR, 0)
	if err != nil {
		return s, s.measure()
	}
	defer control.Close()
	s.still = false
	memory, err := fsys.OpenFile(at("memory.bin"), os.O_RDWR, 0)
	if err == nil {
		defer memory.Close()
		var patch verePatch
		if patch, err = p.verified(control, memory); err == nil {
			err = s.apply(patch)
			if err != nil {
				return nil, err
			}
		}
	}
	_ = fsys.Remove(at("control.bin"))
	_ = fsys.Remove(at("memory.bin"))
	return s, s.measure()
}

type verePatch struct {
	total int
	pages []int
	data  [][]byte
}

func (v verePatch) control() []byte {
	le := binary.LittleEndian
	b := make([]byte, 16, 16+8*len(v.pages))
	le.PutUint32(b, 2)
	le.PutUint32(b[8:], uint32(v.total))
	le.PutUint32(b[12:], uint32(len(v.pages)))
	for i, page := range v.pages {
		b = le.AppendUint32(b, uint32(page))
		b = le.AppendUint32(b, checksum.Sum32(v.data[i]))
	}
	le.PutUint32(b[4:], checksum.Sum32(b[8:]))
	return b
}

var errBadPatch = errors.New("patch does not verify")

func (p vere) verified(control, memory vfs.File) (v verePatch, err error) {
	size, _, err := control.Size()
	if err != nil || size < 16 || size > 1<<20 {
		return v, errBadPatch
	}
	b := make([]byte, size)
	if _, err := control.ReadAt(b, 0); err != nil {
		return v, err
	}
	le := binary.LittleEndian
	n := int(le.Uint32(b[12:]))
	if int(size) != 16+8*n || le.Uint32(b) != 2 || le.Uint32(b[4:]) != checksum.Sum32(b[8:]) {
		return v, errBadPatch
	}
	v.total = int(le.Uint32(b[8:]))
	for i := range n {
		page := make([]byte, p.size)
		if _, err := memory.ReadAt(page, int64(i*p.size)); err != nil {
			return v, err
		}
		if le.Uint32(b[20+8*i:]) != checksum.Sum32(page) {
			return v, errBadPatch
		}
		v.pages, v.data = append(v.pages, int(le.Uint32(b[16+8*i:]))), append(v.data, page)
	}
	return v, nil
}

type vereSession struct {
	p      vere
	fsys   vfs.FS
	image  vfs.File
	length int
	still  bool
}

func (s *vereSession) measure() error {
	size, _, err := s.image.Size()
	s.length = int(size) / s.p.size
	if err == nil && int(size)%s.p.size != 0 {
		err = errors.New("image.bin has no whole number of pages")
	}
	return err
}

func (s *vereSession) epoch() (uint64, bool) { return 0, false }
func (s *vereSession) pages() int            { return s.length }
func (s *vereSession) quiet() bool           { return s.still }
func (s *vereSession) close() error          { return s.image.Close() }

func (s *vereSession) read(page int, dst []byte) error {
	_, err := s.image.ReadAt(dst, int64(page*s.p.size))
	return err
}

// checkpoint is u3e_save. The last page is always written, as vere's is, so
// that the image has its whole length.
func (s *vereSession) checkpoint(l *ledger, ch change) error {
	next := l.begin(ch)
	v := verePatch{total: ch.pages}
	for _, page := range ch.dirty {
		b := make([]byte, s.p.size)
		fill(b, next[page], page)
		v.pages, v.data = append(v.pages, page), append(v.data, b)
	}
	if err := s.write(v); err != nil {
		return err
	}
	phase(s.fsys, "apply")
	if err := s.apply(v); err != nil {
		return err
	}
	for _, name := range []string{"control.bin", "memory.bin"} {
		if err := s.fsys.Remove(at(name)); err != nil {
			return err
		}
	}
	l.ack(l.begun)
	return s.measure()
}

func (s *vereSession) write(v verePatch) error {
	phase(s.fsys, "save")
	const anew = os.O_RDWR | os.O_CREATE | os.O_EXCL
	control, err := s.fsys.OpenFile(at("control.bin"), anew, 0o600)
	if err != nil {
		return err
	}
	defer control.Close()
	memory, err := s.fsys.OpenFile(at("memory.bin"), anew, 0o600)
	if err != nil {
		return err
	}
	defer memory.Close()
	for i, b := range v.data {
		if _, err := memory.WriteAt(b, int64(i*s.p.size)); err != nil {
			return err
		}
	}
	if _, err := control.WriteAt(v.control(), 0); err != nil {
		return err
	}
	return errors.Join(control.Sync(), memory.Sync())
}

func (s *vereSession) apply(v verePatch) error {
	if err := s.measure(); err != nil {
		s.length = v.total + 1 // torn inside a page: cut it
	}
	if s.length > v.total {
		if err := s.image.Truncate(int64(v.total * s.p.size)); err != nil {
			return err
		}
	}
	for i, page := range v.pages {
		if _, err := s.image.WriteAt(v.data[i], int64(page*s.p.size)); err != nil {
			return err
		}
	}
	return s.image.Sync()
}
