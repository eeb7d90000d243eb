package peer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

var heapKind = Kind{
	Name:       "heap-file",
	Durability: "the whole heap to a new file, fsync, rename, fsync of the directory: what most interpreters do",
	Open:       openHeap,
}

// heapStore is a heap that is saved whole. It is a Memory.
type heapStore struct {
	dir   string
	heap  []byte
	pages int
}

func openHeap(dir string, limit int) (Store, error) {
	s := &heapStore{dir: dir, heap: make([]byte, limit*PageSize)}
	f, err := os.Open(s.name())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s.pages = min(int(info.Size()/PageSize), limit)
	if _, err := f.ReadAt(s.heap[:s.pages*PageSize], 0); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *heapStore) name() string  { return filepath.Join(s.dir, "heap") }
func (s *heapStore) Pages() int    { return s.pages }
func (s *heapStore) Bytes() []byte { return s.heap }
func (s *heapStore) Close() error  { return nil }

func (s *heapStore) Commit(pages int, dirty []int, content func(page int) []byte) error {
	for _, p := range dirty {
		copy(s.heap[p*PageSize:(p+1)*PageSize], content(p))
	}
	if err := s.save(pages); err != nil {
		return err
	}
	s.pages = pages
	return nil
}

// Save implements Memory.
func (s *heapStore) Save() error { return s.save(s.pages) }

func (s *heapStore) save(pages int) error {
	f, err := os.Create(s.name() + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(s.heap[:pages*PageSize])
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(s.name()+".new", s.name()); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *heapStore) Read(page int, buf []byte) error {
	if page >= s.pages {
		return missing(page, 0)
	}
	copy(buf, s.heap[page*PageSize:(page+1)*PageSize])
	return nil
}
