package peer

import (
	"encoding/binary"
	"errors"
	"path/filepath"

	"go.etcd.io/bbolt"
)

var bboltKind = Kind{
	Name:       "bbolt",
	Durability: "fdatasync of the tree, then of the meta page; free list kept in memory, as etcd does",
	Open:       openBbolt,
}

var bucketName = []byte("pages")

// boltStore keeps a page under its number, big-endian.
type boltStore struct {
	db    *bbolt.DB
	pages int
}

func openBbolt(dir string, _ int) (Store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt.db"), 0o600,
		&bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	s := &boltStore{db: db}
	err = db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketName); b != nil {
			if last, _ := b.Cursor().Last(); last != nil {
				s.pages = pageAfter(last)
			}
		}
		return nil
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

func (s *boltStore) Pages() int   { return s.pages }
func (s *boltStore) Close() error { return s.db.Close() }

func (s *boltStore) Commit(pages int, dirty []int, content func(page int) []byte) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketName)
		if err != nil {
			return err
		}
		for _, p := range dirty {
			if err := b.Put(key(p), content(p)); err != nil {
				return err
			}
		}
		for p := pages; p < s.pages; p++ {
			if err := b.Delete(key(p)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.pages = pages
	}
	return err
}

func (s *boltStore) Read(page int, buf []byte) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketName)
		if b == nil {
			return missing(page, 0)
		}
		if n := copy(buf, b.Get(key(page))); n != PageSize {
			return missing(page, n)
		}
		return nil
	})
}

// Check implements Checker: bbolt check.
func (s *boltStore) Check() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

func key(page int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(page)) }

// pageAfter is the number of pages if last is the key of the last one. Keys
// come from disk, and may be damaged.
func pageAfter(last []byte) int {
	if len(last) != 8 {
		return 0
	}
	return int(binary.BigEndian.Uint64(last)&(1<<48-1)) + 1
}
