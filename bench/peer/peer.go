// Package peer puts one interface in front of the stores that this project is
// measured against, and in front of its own: a number of pages of 16 KiB, of
// which a commit changes some, all or nothing, durably.
//
// Every store is configured as its own documentation recommends for data that
// must survive a power cut, and otherwise to its advantage where a choice was
// open; Kind.Durability says what a commit has synced when it returns. Kinds
// whose name says so are weaker, as controls for crash tests.
//
// LMDB is C and needs its library (Debian: liblmdb-dev), so it is compiled only
// with the build tag lmdb:
//
//	go test -tags lmdb ./peer
package peer

import (
	"errors"
	"fmt"

	"loomstore/loom"
)

// PageSize is the size of a page in bytes.
const PageSize = loom.PageSize

// ErrPage reports a page that the store should have and does not, or whose
// content has another length: a store that lost something and can tell.
var ErrPage = errors.New("peer: page missing or of the wrong size")

// Store is an open store of pages. It is used from one goroutine at a time.
type Store interface {
	// Pages returns the number of pages as of the last commit.
	Pages() int
	// Commit makes pages the number of pages, and content(p) the content of
	// every page p in dirty, which is ascending and below pages. Pages that
	// the commit adds must be in dirty. What content returns, PageSize bytes,
	// stays unchanged until Commit returns.
	//
	// Once it returned nil, the commit survives what Kind.Durability says.
	// After an error the outcome is open: Close, and see what Open finds.
	Commit(pages int, dirty []int, content func(page int) []byte) error
	// Read fills buf, PageSize bytes, with page p as of the last commit.
	Read(page int, buf []byte) error
	// Close gives everything back. Nothing committed is lost without it.
	Close() error
}

// Memory is a Store that holds the program's memory itself.
type Memory interface {
	Store
	// Bytes is the memory; its first Pages() pages are what was committed.
	Bytes() []byte
	// Save is Commit of what was stored to the first Pages() pages of Bytes.
	Save() error
}

// Settler is a Store that goes on working behind its commits.
type Settler interface {
	// Settle returns when that work is done.
	Settle() error
}

// Checker is a Store with a check of its own for damage.
type Checker interface {
	// Check reads everything and returns what is wrong.
	Check() error
}

// Kind is a way to keep pages.
type Kind struct {
	Name string
	// Durability says what makes a commit durable.
	Durability string
	// Open opens the store in dir, which exists, or creates one of no pages.
	// It will never hold more than limit pages.
	Open func(dir string, limit int) (Store, error)
	// Weaker: a power cut may take acknowledged commits back.
	Weaker bool
}

// optional are the kinds that need a build tag.
var optional []Kind

// All returns every kind that this build has, ours first.
func All() []Kind {
	all := append([]Kind{}, looms...)
	return append(append(all, bboltKind), append(append(sqlites, pebbleKind), append(optional, heapKind)...)...)
}

// Get returns the kind with that name.
func Get(name string) (Kind, error) {
	for _, k := range All() {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("peer: no kind %q in this build", name)
}

func missing(page, got int) error {
	return fmt.Errorf("page %d has %d bytes, expected %d: %w", page, got, PageSize, ErrPage)
}
