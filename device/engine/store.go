package engine

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	_ "modernc.org/sqlite" // the driver

	"signet"
)

// storeFormat is PRAGMA user_version of the index. A newer one is refused.
const storeFormat = 2

const schema = `
CREATE TABLE records(log TEXT NOT NULL, pos INTEGER NOT NULL, leaf BLOB NOT NULL, head BLOB NOT NULL, blob BLOB NOT NULL, PRIMARY KEY(log, pos)) WITHOUT ROWID;
CREATE TABLE heads(log TEXT PRIMARY KEY, follower BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE volumes(id TEXT PRIMARY KEY, path TEXT NOT NULL, region BLOB NOT NULL, added INTEGER NOT NULL, paused INTEGER NOT NULL DEFAULT 0,
	seen INTEGER NOT NULL DEFAULT 0, counters BLOB NOT NULL DEFAULT x'') WITHOUT ROWID;
CREATE TABLE nodes(volume TEXT NOT NULL, node BLOB NOT NULL, row BLOB NOT NULL, PRIMARY KEY(volume, node)) WITHOUT ROWID;
CREATE TABLE sealed(region BLOB NOT NULL, pid BLOB NOT NULL, ref BLOB NOT NULL, PRIMARY KEY(region, pid)) WITHOUT ROWID;
CREATE TABLE notes(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
` + pagesTable

// pagesTable came with format 2.
const pagesTable = `CREATE TABLE pages(region BLOB NOT NULL, page INTEGER NOT NULL, hash BLOB NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(region, page)) WITHOUT ROWID;
`

// A Store is what a device remembers: the logs it verified, the index of its
// volumes, what it sealed. All of it but the heads can be lost and is found
// again, from the service or from the disk; the heads keep the service from
// going back unnoticed.
//
// It is one SQLite database. Durability follows the order of things: what a
// row speaks of is durable before the row is written, so that a row lost with
// a power cut costs work, never data.
type Store struct {
	db *sql.DB

	mu     sync.Mutex           // one writer at a time
	writer *sql.Conn            // its connection, once there was one
	stmts  map[string]*sql.Stmt // prepared there
	told   map[string][]byte    // heads that were stored last, by log

	readMu sync.Mutex
	reads  map[string]*sql.Stmt // what is asked often

	knownMu sync.Mutex
	known   map[signet.RegionID]known
	few     map[signet.RegionID]*few
}

// OpenStore opens or makes the store in a file. It is the owner's alone: it
// holds names, and the keys of objects.
func OpenStore(path string) (*Store, error) {
	// SQLite would make it with the usual mode, and gives its journals the mode
	// of the file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, err
	}
	v := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(10000)", "cache_size(-8192)", "wal_autocheckpoint(2000)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+v.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(openings)
	db.SetMaxIdleConns(openings)
	s := &Store{db: db, stmts: map[string]*sql.Stmt{}, told: map[string][]byte{}, reads: map[string]*sql.Stmt{}}
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		db.Close()
		return nil, openFault(path, err)
	}
	switch {
	case version > storeFormat:
		db.Close()
		return nil, fmt.Errorf("%s has format %d, this program knows %d: %w", path, version, storeFormat, ErrNewer)
	case version < storeFormat:
		step := schema
		if version == 1 {
			step = pagesTable
		}
		if _, err := db.Exec("BEGIN IMMEDIATE;" + step + fmt.Sprintf("PRAGMA user_version = %d; COMMIT", storeFormat)); err != nil {
			db.Close()
			return nil, openFault(path, err)
		}
	}
	return s, nil
}

// openings of the database at once; each keeps some 8 MiB of it in memory.
// One of them writes.
const openings = 5

// rest gives back what idle openings keep in memory. They are made again when
// they are needed.
func (s *Store) rest() {
	s.db.SetMaxIdleConns(0) // closes them
	s.db.SetMaxIdleConns(openings)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer != nil {
		// What fails here costs memory alone.
		s.writer.ExecContext(context.Background(), "PRAGMA shrink_memory")
	}
}

// ErrNewer says that a newer program wrote what is stored here.
var ErrNewer = errors.New("written by a newer version")

// Damaged says that the store cannot be read. It can be deleted: it is made
// anew from the service and the disk.
type Damaged struct {
	Path string
	Err  error
}

func (d *Damaged) Error() string { return "index " + d.Path + ": " + d.Err.Error() }
func (d *Damaged) Unwrap() error { return d.Err }

// openFault tells a store that is damaged from one on a disk that is full: who
// took the second for the first would throw away a good index.
func openFault(path string, err error) error {
	if code := sqliteCode(err); code != sqliteFull && code != sqliteIO {
		return &Damaged{Path: path, Err: err}
	}
	err = fmt.Errorf("index %s: %w", path, err)
	if noSpace(path) {
		err = fmt.Errorf("%w: %w", err, syscall.ENOSPC)
	}
	return err
}

// Result codes of SQLite.
const (
	sqliteIO   = 10
	sqliteFull = 13
)

// sqliteCode is an error's primary result code; 0 if it has none.
func sqliteCode(err error) int {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		return coded.Code() & 0xff
	}
	return 0
}

// noSpace tries whether the disk takes a little more beside a file.
func noSpace(path string) bool {
	f, err := os.CreateTemp(filepath.Dir(path), "space-*")
	if err != nil {
		return errors.Is(err, syscall.ENOSPC)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 128<<10))
	return errors.Is(errors.Join(err, f.Close()), syscall.ENOSPC)
}

// writeFault names a full disk, so that a person is told to free some space.
func writeFault(err error) error {
	if sqliteCode(err) == sqliteFull {
		return fmt.Errorf("index: %w: %w", err, syscall.ENOSPC)
	}
	return fmt.Errorf("index: %w", err)
}

// reading is a query that is asked often, prepared once.
func (s *Store) reading(q string) (*sql.Stmt, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	st := s.reads[q]
	if st == nil {
		var err error
		if st, err = s.db.Prepare(q); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		s.reads[q] = st
	}
	return st, nil
}

// row reads what a query finds first, sql.ErrNoRows if that is nothing. Where nobody
// writes it has the writer's connection: another one reads the schema once more and
// prepares everything anew, which was a fifth of a start with little in the index.
func (s *Store) row(q string, args []any, to ...any) error {
	if s.mu.TryLock() {
		if s.writer != nil {
			defer s.mu.Unlock()
			st, err := s.writing(q)
			if err != nil {
				return fmt.Errorf("index: %w", err)
			}
			return st.QueryRow(args...).Scan(to...)
		}
		s.mu.Unlock()
	}
	st, err := s.reading(q)
	if err != nil {
		return err
	}
	return st.QueryRow(args...).Scan(to...)
}

// Close closes the store.
func (s *Store) Close() error {
	s.readMu.Lock()
	for _, st := range s.reads {
		st.Close()
	}
	clear(s.reads)
	s.readMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetStmts()
	if s.writer != nil {
		s.writer.Close()
	}
	return s.db.Close()
}

// A batch writes several rows in one transaction.
type batch struct {
	s   *Store
	err error
}

// mostStmts is how many prepared statements are kept.
const mostStmts = 64

func (b *batch) exec(q string, args ...any) {
	if b.err != nil {
		return
	}
	var st *sql.Stmt
	if st, b.err = b.s.writing(q); b.err == nil {
		_, b.err = st.Exec(args...)
	}
}

// writing is a statement of the writer's connection, prepared once. With mu held.
func (s *Store) writing(q string) (st *sql.Stmt, err error) {
	if st = s.stmts[q]; st != nil {
		return st, nil
	}
	if len(s.stmts) >= mostStmts {
		s.forgetStmts()
	}
	if st, err = s.writer.PrepareContext(context.Background(), q); err == nil {
		s.stmts[q] = st
	}
	return st, err
}

func (s *Store) forgetStmts() {
	for _, st := range s.stmts {
		st.Close()
	}
	clear(s.stmts)
}

// write runs f in a transaction.
func (s *Store) write(f func(*batch)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transact(f)
}

// writeDurably is write of what has to outlive a power cut, together with all
// that was written before: something is about to be removed that the rows speak
// of.
func (s *Store) writeDurably(f func(*batch)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(); err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := s.writer.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return writeFault(err)
	}
	defer s.writer.ExecContext(ctx, "PRAGMA synchronous = NORMAL") // that it stays costs time alone
	return s.transact(f)
}

// connect gives the writer its connection. With mu held.
func (s *Store) connect() (err error) {
	if s.writer == nil {
		if s.writer, err = s.db.Conn(context.Background()); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	return nil
}

// transact is write on the writer's connection, whose statements stay prepared.
// With mu held.
func (s *Store) transact(f func(*batch)) error {
	if err := s.connect(); err != nil {
		return err
	}
	b := &batch{s: s}
	b.exec("BEGIN")
	f(b)
	b.exec("COMMIT")
	if b.err == nil {
		return nil
	}
	s.writer.ExecContext(context.Background(), "ROLLBACK") // does nothing where nothing began, or SQLite did it
	return writeFault(b.err)
}

func (b *batch) record(log signet.LogID, pos uint64, r signet.Record) {
	b.exec("INSERT OR REPLACE INTO records VALUES(?,?,?,?,?)", log.String(), int64(pos), r.Leaf, nn(r.Head), nn(r.Blob))
}

// storeHead stores a log's head, and records that it covers. What is stored already is
// not written again: the answer to most questions is that nothing is new.
func (s *Store) storeHead(log signet.LogID, head []byte, from uint64, fresh []signet.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := log.String()
	if len(fresh) == 0 && bytes.Equal(s.told[name], head) {
		return nil
	}
	err := s.transact(func(b *batch) {
		for i, r := range fresh {
			b.record(log, from+uint64(i), r)
		}
		b.exec("INSERT OR REPLACE INTO heads VALUES(?,?)", name, head)
	})
	if err == nil {
		s.told[name] = head
	}
	return err
}

// nn keeps empty bytes from being NULL.
func nn(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// records calls each with the stored records of a log from a position on.
func (s *Store) records(log signet.LogID, from uint64, each func(pos uint64, r signet.Record) error) error {
	return s.recordsTo(log, from, math.MaxInt64, each)
}

// recordsTo is records that ends before a position.
func (s *Store) recordsTo(log signet.LogID, from, to uint64, each func(pos uint64, r signet.Record) error) error {
	return s.query("SELECT pos, leaf, head, blob FROM records WHERE log = ? AND pos >= ? AND pos < ? ORDER BY pos", each, log.String(), int64(from), int64(to))
}

// query calls each with the records that a query finds.
func (s *Store) query(q string, each func(pos uint64, r signet.Record) error, args ...any) error {
	rows, err := s.db.Query(q, args...)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var pos int64
		var leaf, head, blob sql.RawBytes
		if err := rows.Scan(&pos, &leaf, &head, &blob); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		// The driver's are copies already, which nobody else has.
		if err := each(uint64(pos), signet.Record{Leaf: leaf, Head: head, Blob: blob}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// heads is records without the blobs of content entries, which cost as much to
// read as all that is in them.
func (s *Store) heads(log signet.LogID, each func(pos uint64, r signet.Record) error) error {
	// A head begins with the length of the header, suite, format and type.
	return s.query("SELECT pos, leaf, head, CASE WHEN substr(head, 5, 1) >= x'10' THEN blob ELSE x'' END FROM records WHERE log = ? ORDER BY pos", each, log.String())
}

// leaves calls each with the leaves of a log.
func (s *Store) leaves(log signet.LogID, each func(pos uint64, leaf []byte) error) error {
	rows, err := s.db.Query("SELECT pos, leaf FROM records WHERE log = ? ORDER BY pos", log.String())
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var pos int64
		var leaf []byte
		if err := rows.Scan(&pos, &leaf); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if err := each(uint64(pos), leaf); err != nil {
			return err
		}
	}
	return rows.Err()
}

// record reads one stored record.
func (s *Store) record(log signet.LogID, pos uint64) (r signet.Record, err error) {
	err = s.row("SELECT leaf, head, blob FROM records WHERE log = ? AND pos = ?", []any{log.String(), int64(pos)}, &r.Leaf, &r.Head, &r.Blob)
	if errors.Is(err, sql.ErrNoRows) {
		err = signet.ErrNotFound
	}
	return r, err
}

// follower is what Follower.Bytes stored, or nil.
func (s *Store) follower(log signet.LogID) ([]byte, error) {
	var b []byte
	err := s.row("SELECT follower FROM heads WHERE log = ?", []any{log.String()}, &b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return b, err
}

// Note reads a small value that was stored under a key, nil if there is none;
// SetNote stores one.
func (s *Store) Note(key string) ([]byte, error) {
	var b []byte
	err := s.row("SELECT value FROM notes WHERE key = ?", []any{key}, &b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return b, err
}

// SetNote stores a small value under a key; nil forgets it.
func (s *Store) SetNote(key string, value []byte) error {
	return s.write(func(b *batch) {
		if value == nil {
			b.exec("DELETE FROM notes WHERE key = ?", key)
			return
		}
		b.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", key, value)
	})
}

// Notes lists the notes whose key begins with a prefix.
func (s *Store) Notes(prefix string) (map[string][]byte, error) {
	rows, err := s.db.Query("SELECT key, value FROM notes WHERE key >= ? AND key < ?", prefix, prefix+"\xff")
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	m := map[string][]byte{}
	for rows.Next() {
		var k string
		var v []byte
		if err := rows.Scan(&k, &v); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		m[k] = v
	}
	return m, rows.Err()
}
