package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"loomstore/bench/peer"
	"loomstore/image"
	"loomstore/internal/crash/veremodel"
	"loomstore/internal/vfs"
	"loomstore/loom"
)

// driver is a store under test.
type driver struct {
	name  string
	about string // what it is, and what makes its commits durable
	// filled: pages by which the store grows are all written.
	filled bool
	// limit, if not empty, is what the store's own documentation says of it:
	// its violations are counted, and do not fail the run.
	limit string
	// sealed: what an opened store shows is durable (ledger.Sealed).
	sealed bool
	// creates: a power cut while the store is made may leave nothing worse
	// than no store.
	creates bool
	// seam: the driver can be killed at any operation on its files.
	seam bool
	open func(dir string, fsys vfs.FS) (store, error)
}

// store is an open one.
type store interface {
	epoch() (uint64, bool) // false: the store does not know
	pages() int
	read(page int, dst []byte) error
	commit(ch change, page func(n int, dst []byte)) error
	quiet() bool // opening had nothing to do
	close() error
}

// drivers are the stores, ours first.
func drivers() []driver {
	list := []driver{
		{name: "loom", about: "this store, memory and all", sealed: true, creates: true, seam: true, open: openLoom},
		{name: "vere", about: "a model of vere's protocol", seam: true, open: openVere, limit: "a model of vere's protocol, as a control"},
	}
	for _, k := range append(peer.All(), peer.SQLiteDeleteExtra) {
		if strings.HasPrefix(k.Name, "loom") || strings.HasPrefix(k.Name, "heap") {
			continue
		}
		d := driver{name: k.Name, about: k.Durability, filled: true, open: opening(k)}
		if k.Weaker {
			d.limit = k.Durability
		}
		list = append(list, d)
	}
	return list
}

// opening opens a peer. It has no seam, and looks after its files itself.
func opening(k peer.Kind) func(string, vfs.FS) (store, error) {
	return func(dir string, _ vfs.FS) (store, error) {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		s, err := k.Open(dir, maxPages)
		if err != nil {
			return nil, err
		}
		return peerStore{s}, nil
	}
}

// peerStore is one of the stores of package peer.
type peerStore struct{ s peer.Store }

func (s peerStore) epoch() (uint64, bool)           { return 0, false }
func (s peerStore) pages() int                      { return s.s.Pages() }
func (s peerStore) read(page int, dst []byte) error { return s.s.Read(page, dst) }
func (s peerStore) quiet() bool                     { return true }
func (s peerStore) close() error                    { return s.s.Close() }

func (s peerStore) commit(ch change, page func(n int, dst []byte)) error {
	return s.s.Commit(ch.Pages, ch.Dirty, func(n int) []byte {
		b := make([]byte, pageSize)
		page(n, b)
		return b
	})
}

func driverNamed(name string) (driver, error) {
	for _, d := range drivers() {
		if d.name == name {
			return d, nil
		}
	}
	return driver{}, fmt.Errorf("there is no driver %q", name)
}

// loomStore is the production engine, memory and all.
type loomStore struct {
	l    *loom.Loom
	high int // pages of the arena that were ever below the watermark
	now  int
}

const arenaPages = 2 * maxPages

func openLoom(dir string, fsys vfs.FS) (store, error) {
	l, err := loom.Open(dir, &loom.Options{Size: arenaPages * pageSize, FS: fsys})
	if err != nil {
		return nil, err
	}
	s := &loomStore{l: l}
	// The application record is atomic with its checkpoint: it has the epoch
	// and the page count.
	if app := l.AppRecord(); len(app) == 16 {
		if e := binary.LittleEndian.Uint64(app); e != l.Epoch() {
			return nil, fmt.Errorf("application record of epoch %d at epoch %d", e, l.Epoch())
		}
		s.now = int(binary.LittleEndian.Uint64(app[8:]))
	} else if l.Epoch() > 0 {
		return nil, fmt.Errorf("application record %x at epoch %d", app, l.Epoch())
	}
	s.high = s.now
	return s, nil
}

func (s *loomStore) epoch() (uint64, bool) { return s.l.Epoch(), true }
func (s *loomStore) pages() int            { return s.now }
func (s *loomStore) quiet() bool           { return s.l.Report().Action == image.ActionNone }
func (s *loomStore) close() error          { return s.l.Close() }

func (s *loomStore) page(n int) []byte { return s.l.Bytes()[n*pageSize : (n+1)*pageSize] }

func (s *loomStore) read(page int, dst []byte) error {
	return s.l.Do(func() error {
		copy(dst, s.page(page))
		return nil
	})
}

func (s *loomStore) commit(ch change, page func(n int, dst []byte)) error {
	if err := s.l.SetWatermarks(int64(ch.Pages)*pageSize, arenaPages*pageSize); err != nil {
		return err
	}
	err := s.l.Do(func() error {
		for n := s.now; n < min(s.high, ch.Pages); n++ {
			clear(s.page(n)) // what a shrink left
		}
		for _, n := range ch.Dirty {
			page(n, s.page(n))
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.now, s.high = ch.Pages, max(s.high, ch.Pages)
	app := binary.LittleEndian.AppendUint64(nil, s.l.Epoch()+1)
	if err := s.l.SetAppRecord(binary.LittleEndian.AppendUint64(app, uint64(ch.Pages))); err != nil {
		return err
	}
	_, err = s.l.Checkpoint(context.Background())
	return err
}

// vereStore is the model of vere's protocol.
type vereStore struct{ s *veremodel.Snapshot }

func openVere(dir string, fsys vfs.FS) (store, error) {
	s, err := veremodel.Model{FS: fsys, Dir: dir, PageSize: pageSize}.Open()
	if err != nil {
		return nil, err
	}
	return &vereStore{s}, nil
}

func (s *vereStore) epoch() (uint64, bool)           { return 0, false }
func (s *vereStore) pages() int                      { return s.s.Pages() }
func (s *vereStore) read(page int, dst []byte) error { return s.s.Read(page, dst) }
func (s *vereStore) quiet() bool                     { return s.s.Quiet() }
func (s *vereStore) close() error                    { return s.s.Close() }

func (s *vereStore) commit(ch change, page func(n int, dst []byte)) error {
	p := veremodel.Patch{Total: ch.Pages}
	for _, n := range ch.Dirty {
		b := make([]byte, pageSize)
		page(n, b)
		p.Pages, p.Data = append(p.Pages, n), append(p.Data, b)
	}
	return s.s.Save(p)
}
