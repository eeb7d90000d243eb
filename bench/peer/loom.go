package peer

import (
	"context"
	"errors"

	"loomstore/fault"
	"loomstore/image"
	"loomstore/loom"
	"loomstore/patch"
)

const loomDurability = "fdatasync of the pages, then of the commit record, before it returns; image.bin follows behind"

// looms are the store of this project, with each way to find dirty pages.
var looms = []Kind{
	loomKind("loom", fault.Auto), loomKind("loom-uffd", fault.Uffd),
	loomKind("loom-mprotect", fault.Mprotect), loomKind("loom-cow", fault.Cow),
}

func loomKind(name string, tracker fault.Kind) Kind {
	return Kind{Name: name, Durability: loomDurability, Open: func(dir string, limit int) (Store, error) {
		return OpenLoom(dir, &loom.Options{Size: int64(limit) * PageSize, Tracker: tracker})
	}}
}

// Loom is a loom.Loom as a Store. It is a Memory, a Settler and a
// Checker.
type Loom struct {
	*loom.Loom
	dir   string
	pages int
	limit int64
}

// OpenLoom opens the store in dir with options of choice; Size must be set.
func OpenLoom(dir string, options *loom.Options) (*Loom, error) {
	l, err := loom.Open(dir, options)
	if err != nil {
		return nil, err
	}
	return &Loom{Loom: l, dir: dir, pages: l.Metrics().ImagePages, limit: options.Size}, nil
}

// Pages implements Store.
func (s *Loom) Pages() int { return s.pages }

// Commit implements Store.
func (s *Loom) Commit(pages int, dirty []int, content func(page int) []byte) error {
	if err := s.SetWatermarks(int64(pages)*PageSize, s.limit); err != nil {
		return err
	}
	err := s.Do(func() error {
		for _, p := range dirty {
			copy(s.Bytes()[p*PageSize:(p+1)*PageSize], content(p))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.Save(); err != nil {
		return err
	}
	s.pages = pages
	return nil
}

// Save implements Memory.
func (s *Loom) Save() error {
	_, err := s.Checkpoint(context.Background())
	return err
}

// Settle implements Settler: every commit is in image.bin, durably.
func (s *Loom) Settle() error { return s.Wait(context.Background()) }

// Check implements Checker: what loomctl verify does, beside the open store.
func (s *Loom) Check() error {
	var found error
	_, err := image.Verify(context.Background(), s.dir, nil, func(d *patch.Defect) { found = d }, nil)
	return errors.Join(err, found)
}

// Read implements Store.
func (s *Loom) Read(page int, buf []byte) error {
	return s.Do(func() error {
		copy(buf, s.Bytes()[page*PageSize:(page+1)*PageSize])
		return nil
	})
}
