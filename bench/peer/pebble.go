package peer

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

var pebbleKind = Kind{
	Name:       "pebble",
	Durability: "pebble.Sync: fdatasync of the log by every commit; sorted tables follow behind",
	Open:       openPebble,
}

// pebbleStore keeps a page under its number, big-endian. It is a Settler.
type pebbleStore struct {
	db    *pebble.DB
	pages int
}

// openPebble gives the memtable the 64 MiB that CockroachDB gives it. Damage
// is reported by the read that meets it; by default it would end the process as
// well. All else is the default.
func openPebble(dir string, _ int) (Store, error) {
	db, err := pebble.Open(dir, &pebble.Options{
		Logger: silent{}, MemTableSize: 64 << 20, FormatMajorVersion: pebble.FormatNewest,
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	})
	if err != nil {
		return nil, err
	}
	s := &pebbleStore{db: db}
	if err := s.count(); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

func (s *pebbleStore) count() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	if it.Last() {
		s.pages = pageAfter(it.Key())
	}
	if err := it.Error(); err != nil {
		_ = it.Close()
		return err
	}
	return it.Close()
}

func (s *pebbleStore) Pages() int   { return s.pages }
func (s *pebbleStore) Close() error { return s.db.Close() }

func (s *pebbleStore) Commit(pages int, dirty []int, content func(page int) []byte) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	for _, p := range dirty {
		if err := b.Set(key(p), content(p), nil); err != nil {
			return err
		}
	}
	if pages < s.pages {
		if err := b.DeleteRange(key(pages), key(s.pages), nil); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	s.pages = pages
	return nil
}

func (s *pebbleStore) Read(page int, buf []byte) error {
	v, closer, err := s.db.Get(key(page))
	if err != nil {
		return err
	}
	if n := copy(buf, v); n != PageSize || len(v) != PageSize {
		_ = closer.Close()
		return missing(page, len(v))
	}
	return closer.Close()
}

// Settle implements Settler: no flush and no compaction is under way. It asks
// Pebble, which offers nothing to wait on.
func (s *pebbleStore) Settle() error {
	for {
		m := s.db.Metrics()
		if m.Compact.NumInProgress == 0 && m.Flush.NumInProgress == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// Check implements Checker. Checksums of blocks are checked by every read as well.
func (s *pebbleStore) Check() error { return s.db.CheckLevels(nil) }

// silent drops what Pebble says on its way. Fatalf is a promise not to return.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(f string, args ...any) {
	pebble.DefaultLogger.Fatalf(f, args...)
}
