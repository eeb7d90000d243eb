package peer

import (
	"database/sql"
	"fmt"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver
)

var sqlites = []Kind{
	sqliteKind("sqlite-wal-full", "WAL", "FULL", "EXCLUSIVE", "journal_mode=WAL, synchronous=FULL: the WAL is synced by every commit; checkpoints as by default", false),
	sqliteKind("sqlite-wal-normal", "WAL", "NORMAL", "EXCLUSIVE", "journal_mode=WAL, synchronous=NORMAL: consistent, but the last commits may be lost, as documented", true),
	sqliteKind("sqlite-delete-full", "DELETE", "FULL", "NORMAL", "journal_mode=DELETE, synchronous=FULL: journal, database, and deletion of the journal, which is not synced, as documented", true),
}

// SQLiteDeleteExtra is sqlite-delete-full without its window. It is not in All:
// it is slower, and wanted for crash tests only.
var SQLiteDeleteExtra = sqliteKind("sqlite-delete-extra", "DELETE", "EXTRA", "NORMAL", "journal_mode=DELETE, synchronous=EXTRA: as sqlite-delete-full, and the deletion is synced", false)

// sqliteKind is a kind by its pragmas. Locked exclusively, SQLite does not delete
// its journal but zeroes it, which is synced: that is another mode than the
// documentation's DELETE.
func sqliteKind(name, journal, synchronous, locking, durability string, weaker bool) Kind {
	return Kind{Name: name, Durability: durability, Weaker: weaker, Open: func(dir string, limit int) (Store, error) {
		return openSQLite(filepath.Join(dir, "sqlite.db"), journal, synchronous, locking, limit)
	}}
}

// sqliteStore keeps one row a page.
type sqliteStore struct {
	db                           *sql.DB
	update, insert, drop, choose *sql.Stmt
	pages                        int
}

// openSQLite gives the cache room for all pages: a commit of them all need not
// spill.
func openSQLite(name, journal, synchronous, locking string, limit int) (_ Store, err error) {
	dsn := fmt.Sprintf("file:%s?_pragma=journal_mode(%s)&_pragma=synchronous(%s)&_pragma=cache_size(%d)&_pragma=locking_mode(%s)",
		name, journal, synchronous, -(limit*PageSize*5/4/1024 + 2048), locking)
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	db.SetMaxOpenConns(1)
	s := &sqliteStore{db: db}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS page (n INTEGER PRIMARY KEY, content BLOB NOT NULL)"); err != nil {
		return nil, err
	}
	if err := db.QueryRow("SELECT coalesce(max(n)+1, 0) FROM page").Scan(&s.pages); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.update, "UPDATE page SET content = ? WHERE n = ?"},
		{&s.insert, "INSERT INTO page (content, n) VALUES (?, ?)"},
		{&s.drop, "DELETE FROM page WHERE n >= ?"},
		{&s.choose, "SELECT content FROM page WHERE n = ?"},
	} {
		if *p.stmt, err = db.Prepare(p.text); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sqliteStore) Pages() int   { return s.pages }
func (s *sqliteStore) Close() error { return s.db.Close() }

func (s *sqliteStore) Commit(pages int, dirty []int, content func(page int) []byte) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	update, insert := tx.Stmt(s.update), tx.Stmt(s.insert)
	for _, p := range dirty {
		stmt := update
		if p >= s.pages {
			stmt = insert
		}
		result, err := stmt.Exec(content(p), p)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return fmt.Errorf("page %d: %d rows changed: %w, %w", p, n, ErrPage, err)
		}
	}
	if pages < s.pages {
		if _, err := tx.Stmt(s.drop).Exec(pages); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.pages = pages
	return nil
}

func (s *sqliteStore) Read(page int, buf []byte) error {
	var content sql.RawBytes
	rows, err := s.choose.Query(page)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return missing(page, 0)
	}
	if err := rows.Scan(&content); err != nil {
		return err
	}
	if n := copy(buf, content); n != PageSize || len(content) != PageSize {
		return missing(page, len(content))
	}
	return rows.Close()
}

// Check implements Checker: PRAGMA integrity_check.
func (s *sqliteStore) Check() error {
	var verdict string
	if err := s.db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("integrity check: %s", verdict)
	}
	return nil
}
