//go:build lmdb

package peer

/*
#cgo LDFLAGS: -llmdb
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

// Each of these is one read or one put: no pointer of Go's is kept in C.

static int page_put(MDB_txn *txn, MDB_dbi dbi, size_t page, void *content, size_t n) {
	MDB_val k = {sizeof page, &page}, v = {n, content};
	return mdb_put(txn, dbi, &k, &v, 0);
}

static int page_del(MDB_txn *txn, MDB_dbi dbi, size_t page) {
	MDB_val k = {sizeof page, &page};
	return mdb_del(txn, dbi, &k, NULL);
}

// page_get copies at most n bytes and sets *got to the length there is.
static int page_get(MDB_env *env, MDB_dbi dbi, size_t page, void *buf, size_t n, size_t *got) {
	MDB_txn *txn;
	MDB_val k = {sizeof page, &page}, v;
	int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return rc;
	rc = mdb_get(txn, dbi, &k, &v);
	if (!rc) {
		*got = v.mv_size;
		memcpy(buf, v.mv_data, v.mv_size < n ? v.mv_size : n);
	}
	mdb_txn_abort(txn);
	return rc;
}

// page_count is the highest key + 1.
static int page_count(MDB_txn *txn, MDB_dbi dbi, size_t *pages) {
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, dbi, &c);
	if (rc)
		return rc;
	rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
	if (!rc && k.mv_size == sizeof *pages) {
		memcpy(pages, k.mv_data, sizeof *pages);
		++*pages;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

func init() {
	optional = append(optional, Kind{
		Name:       "lmdb",
		Durability: "default flags: the pages are written and fdatasynced, then the meta page, written through",
		Open:       openLMDB,
	})
}

// lmdbStore keeps a page under its number, an integer key.
type lmdbStore struct {
	env   *C.MDB_env
	dbi   C.MDB_dbi
	pages int
}

// openLMDB makes the map large enough for four versions of every page: freed
// pages are reused only two transactions later.
func openLMDB(dir string, limit int) (Store, error) {
	s := new(lmdbStore)
	if err := check("create", C.mdb_env_create(&s.env)); err != nil {
		return nil, err
	}
	if err := s.open(dir, limit); err != nil {
		C.mdb_env_close(s.env)
		return nil, err
	}
	return s, nil
}

func (s *lmdbStore) open(dir string, limit int) error {
	size := C.size_t(limit)*PageSize*5/4*4 + 64<<20
	if err := check("set map size", C.mdb_env_set_mapsize(s.env, size)); err != nil {
		return err
	}
	name := C.CString(dir)
	defer C.free(unsafe.Pointer(name))
	if err := check("open", C.mdb_env_open(s.env, name, 0, 0o600)); err != nil {
		return err
	}
	var pages C.size_t
	err := s.transact(func(txn *C.MDB_txn) error {
		if err := check("open database", C.mdb_dbi_open(txn, nil, C.MDB_INTEGERKEY, &s.dbi)); err != nil {
			return err
		}
		return check("find last page", C.page_count(txn, s.dbi, &pages))
	})
	s.pages = int(pages & (1<<48 - 1))
	return err
}

// transact runs f in a write transaction, whose lock belongs to a thread.
func (s *lmdbStore) transact(f func(*C.MDB_txn) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var txn *C.MDB_txn
	if err := check("begin", C.mdb_txn_begin(s.env, nil, 0, &txn)); err != nil {
		return err
	}
	if err := f(txn); err != nil {
		C.mdb_txn_abort(txn)
		return err
	}
	return check("commit", C.mdb_txn_commit(txn))
}

func (s *lmdbStore) Pages() int { return s.pages }

func (s *lmdbStore) Close() error {
	C.mdb_env_close(s.env)
	return nil
}

func (s *lmdbStore) Commit(pages int, dirty []int, content func(page int) []byte) error {
	err := s.transact(func(txn *C.MDB_txn) error {
		for _, p := range dirty {
			b := content(p)
			if err := check("put", C.page_put(txn, s.dbi, C.size_t(p), unsafe.Pointer(&b[0]), C.size_t(len(b)))); err != nil {
				return err
			}
		}
		for p := pages; p < s.pages; p++ {
			if err := check("delete", C.page_del(txn, s.dbi, C.size_t(p))); err != nil {
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

func (s *lmdbStore) Read(page int, buf []byte) error {
	var got C.size_t
	err := check("get", C.page_get(s.env, s.dbi, C.size_t(page), unsafe.Pointer(&buf[0]), C.size_t(len(buf)), &got))
	if err == nil && got != PageSize {
		return missing(page, int(got))
	}
	return err
}

func check(what string, rc C.int) error {
	if rc == 0 {
		return nil
	}
	return fmt.Errorf("lmdb: %s: %s", what, C.GoString(C.mdb_strerror(rc)))
}
