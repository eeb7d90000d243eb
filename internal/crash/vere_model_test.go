package crash

import (
	"path/filepath"

	"loomstore/internal/crash/veremodel"
	"loomstore/internal/vfs"
)

func at(name string) string { return filepath.Join(storeDir, name) }

// vere is the model of vere's protocol under the explorer.
type vere struct{ size int }

func (p vere) pageSize() int { return p.size }

func (p vere) model(fsys vfs.FS) veremodel.Model {
	return veremodel.Model{FS: fsys, Dir: storeDir, PageSize: p.size, Phase: func(name string) { phase(fsys, name) }}
}

func (p vere) open(fsys vfs.FS) (session, error) {
	s, err := p.model(fsys).Open()
	if err != nil {
		return nil, err
	}
	return &vereSession{s, p.size}, nil
}

type vereSession struct {
	s    *veremodel.Snapshot
	size int
}

func (s *vereSession) epoch() (uint64, bool)           { return 0, false }
func (s *vereSession) pages() int                      { return s.s.Pages() }
func (s *vereSession) quiet() bool                     { return s.s.Quiet() }
func (s *vereSession) read(page int, dst []byte) error { return s.s.Read(page, dst) }
func (s *vereSession) close() error                    { return s.s.Close() }

// checkpoint is for changes that write the last page when they grow, as vere
// does, so that the image has its whole length.
func (s *vereSession) checkpoint(l *ledger, ch change) error {
	next := l.begin(ch)
	p := veremodel.Patch{Total: ch.pages, Pages: ch.dirty}
	for _, page := range ch.dirty {
		b := make([]byte, s.size)
		fill(b, next[page], page)
		p.Data = append(p.Data, b)
	}
	if err := s.s.Save(p); err != nil {
		return err
	}
	l.ack(l.begun)
	return nil
}
