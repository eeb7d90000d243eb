// Package veremodel is a model of the protocol of vere's snapshots, operation
// for operation, with pages of any size. It is here to be found wrong: a rig
// that does not see what is known of it sees nothing. The explorer drives it
// over a file system in memory, the power-cut rig in bench over real ones.
//
// It keeps none of the rules of DESIGN.md section 5, on purpose, and is not a
// store for anything but tests.
package veremodel

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
)

// Model is where a snapshot lies.
type Model struct {
	FS       vfs.FS
	Dir      string
	PageSize int
	// Phase, if not nil, is told what comes next: "open", "save" or "apply".
	Phase func(string)
}

func (m Model) at(name string) string { return filepath.Join(m.Dir, name) }

func (m Model) phase(name string) {
	if m.Phase != nil {
		m.Phase(name)
	}
}

// Snapshot is an open one.
type Snapshot struct {
	m      Model
	image  vfs.File
	length int
	quiet  bool
}

// Open is u3e_live: take the image, apply a patch that verifies, delete one
// that does not.
func (m Model) Open() (*Snapshot, error) {
	m.phase("open")
	if err := m.FS.Mkdir(m.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	image, err := m.FS.OpenFile(m.at("image.bin"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{m: m, image: image, quiet: true}
	if err := errors.Join(s.recover(), s.measure()); err != nil {
		return nil, errors.Join(err, image.Close())
	}
	return s, nil
}

func (s *Snapshot) recover() error {
	// Any error counts as "no patch" (W9).
	control, err := s.m.FS.OpenFile(s.m.at("control.bin"), os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer control.Close()
	s.quiet = false
	memory, err := s.m.FS.OpenFile(s.m.at("memory.bin"), os.O_RDWR, 0)
	if err == nil {
		defer memory.Close()
		if p, err := s.m.verified(control, memory); err == nil {
			if err := s.apply(p); err != nil {
				return err
			}
		}
	}
	_ = s.m.FS.Remove(s.m.at("control.bin"))
	_ = s.m.FS.Remove(s.m.at("memory.bin"))
	return nil
}

func (s *Snapshot) measure() error {
	size, _, err := s.image.Size()
	s.length = int(size) / s.m.PageSize
	if err == nil && int(size)%s.m.PageSize != 0 {
		err = errors.New("image.bin has no whole number of pages")
	}
	return err
}

// Quiet reports whether Open had nothing to do.
func (s *Snapshot) Quiet() bool { return s.quiet }

// Pages is the length of the image.
func (s *Snapshot) Pages() int { return s.length }

// Read reads one page of the image.
func (s *Snapshot) Read(page int, dst []byte) error {
	_, err := s.image.ReadAt(dst, int64(page*s.m.PageSize))
	return err
}

// Close closes the image.
func (s *Snapshot) Close() error { return s.image.Close() }

// Patch is what a save changes: the image's new page count, the numbers of the
// pages, and their bytes. The last page has to be among them if the image
// grows, as it is with vere.
type Patch struct {
	Total int
	Pages []int
	Data  [][]byte
}

// Save is u3e_save: the patch is written and synced, then the image, and then
// the patch is deleted.
func (s *Snapshot) Save(p Patch) error {
	s.m.phase("save")
	if err := s.m.write(p); err != nil {
		return err
	}
	s.m.phase("apply")
	if err := s.apply(p); err != nil {
		return err
	}
	for _, name := range []string{"control.bin", "memory.bin"} {
		if err := s.m.FS.Remove(s.m.at(name)); err != nil {
			return err
		}
	}
	return s.measure()
}

func (m Model) write(p Patch) error {
	const anew = os.O_RDWR | os.O_CREATE | os.O_EXCL
	control, err := m.FS.OpenFile(m.at("control.bin"), anew, 0o600)
	if err != nil {
		return err
	}
	defer control.Close()
	memory, err := m.FS.OpenFile(m.at("memory.bin"), anew, 0o600)
	if err != nil {
		return err
	}
	defer memory.Close()
	for i, b := range p.Data {
		if _, err := memory.WriteAt(b, int64(i*m.PageSize)); err != nil {
			return err
		}
	}
	if _, err := control.WriteAt(p.control(), 0); err != nil {
		return err
	}
	return errors.Join(control.Sync(), memory.Sync())
}

func (s *Snapshot) apply(p Patch) error {
	if err := s.measure(); err != nil {
		s.length = p.Total + 1 // torn inside a page: cut it
	}
	if s.length > p.Total {
		if err := s.image.Truncate(int64(p.Total * s.m.PageSize)); err != nil {
			return err
		}
	}
	for i, page := range p.Pages {
		if _, err := s.image.WriteAt(p.Data[i], int64(page*s.m.PageSize)); err != nil {
			return err
		}
	}
	return s.image.Sync()
}

// Pending returns the patch that lies beside the image, if it verifies.
func (m Model) Pending() (p Patch, ok bool) {
	memory, err := m.FS.OpenFile(m.at("memory.bin"), os.O_RDONLY, 0)
	if err != nil {
		return p, false
	}
	defer memory.Close()
	control, err := m.FS.OpenFile(m.at("control.bin"), os.O_RDONLY, 0)
	if err != nil {
		return p, false
	}
	defer control.Close()
	p, err = m.verified(control, memory)
	return p, err == nil
}

func (p Patch) control() []byte {
	le := binary.LittleEndian
	b := make([]byte, 16, 16+8*len(p.Pages))
	le.PutUint32(b, 2)
	le.PutUint32(b[8:], uint32(p.Total))
	le.PutUint32(b[12:], uint32(len(p.Pages)))
	for i, page := range p.Pages {
		b = le.AppendUint32(b, uint32(page))
		b = le.AppendUint32(b, checksum.Sum32(p.Data[i]))
	}
	le.PutUint32(b[4:], checksum.Sum32(b[8:]))
	return b
}

var errBadPatch = errors.New("patch does not verify")

func (m Model) verified(control, memory vfs.File) (p Patch, err error) {
	size, _, err := control.Size()
	if err != nil || size < 16 || size > 1<<20 {
		return p, errBadPatch
	}
	b := make([]byte, size)
	if _, err := control.ReadAt(b, 0); err != nil {
		return p, err
	}
	le := binary.LittleEndian
	n := int(le.Uint32(b[12:]))
	if int(size) != 16+8*n || le.Uint32(b) != 2 || le.Uint32(b[4:]) != checksum.Sum32(b[8:]) {
		return p, errBadPatch
	}
	p.Total = int(le.Uint32(b[8:]))
	for i := range n {
		page := make([]byte, m.PageSize)
		if _, err := memory.ReadAt(page, int64(i*m.PageSize)); err != nil {
			return p, err
		}
		if le.Uint32(b[20+8*i:]) != checksum.Sum32(page) {
			return p, errBadPatch
		}
		p.Pages, p.Data = append(p.Pages, int(le.Uint32(b[16+8*i:]))), append(p.Data, page)
	}
	return p, nil
}
