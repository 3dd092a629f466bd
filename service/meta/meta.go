// Package meta keeps what the service must find again, in SQLite: logs and
// their records, the index of objects, claims, sealed records, settings.
//
// It promises that an Update that returned nil survives a loss of power as a
// whole and that one that failed left nothing; that a row of an object is
// written only together with the mark that its pack was synced up to there, if
// its caller syncs first; and that a database of a newer format is refused. It
// verifies nothing: what it is given, it keeps.
package meta

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"signet"
	"signet/internal/durable"
)

// ErrNewer says that a database was written by a newer program.
var ErrNewer = errors.New("written by a newer signet-server")

// ErrFull says that the disk has no space for what was to be written.
var ErrFull = errors.New("no space left for the database")

// full adds ErrFull to SQLite's own errors for it: SQLITE_FULL, and
// SQLITE_IOERR_SHMSIZE, which is what it meets first on a disk without any space.
func full(err error) error {
	var e interface{ Code() int }
	if errors.As(err, &e) && (e.Code()&0xff == 13 || e.Code() == 10|19<<8) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// A DB is an open database. Its methods may be called at the same time.
type DB struct {
	path    string
	readers *sql.DB
	writers *sql.DB

	writing sync.Mutex // guards what follows
	writer  *sql.Conn  // the one connection that writes
	write   map[string]*sql.Stmt

	mu   sync.Mutex // guards read
	read map[string]*sql.Stmt
}

// Open opens the database at path, made if missing, migrated if older.
func Open(path string) (*DB, error) {
	db := &DB{path: path, write: map[string]*sql.Stmt{}, read: map[string]*sql.Stmt{}}
	if err := db.open(); err != nil {
		db.Close()
		return nil, fmt.Errorf("database %s: %w", filepath.Base(path), full(err))
	}
	return db, nil
}

func (db *DB) open() error {
	if f, err := os.OpenFile(db.path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	} else if err := f.Close(); err != nil {
		return err
	}
	var err error
	// FULL: a commit is synced before it is reported. The log is folded into
	// the database at 16 MiB instead of 4, which halves what a busy service
	// writes.
	if db.writers, err = sql.Open("sqlite", dsn(db.path, "journal_mode(WAL)", "synchronous(FULL)",
		"busy_timeout(10000)", "wal_autocheckpoint(4000)", "cache_size(-65536)")); err != nil {
		return err
	}
	db.writers.SetMaxOpenConns(1)
	if db.writer, err = db.writers.Conn(context.Background()); err != nil {
		return err
	}
	if err := db.migrate(); err != nil {
		return err
	}
	if db.readers, err = sql.Open("sqlite", dsn(db.path, "query_only(1)", "busy_timeout(10000)", "cache_size(-16384)")); err != nil {
		return err
	}
	db.readers.SetMaxOpenConns(8)
	db.readers.SetMaxIdleConns(8)
	return nil
}

// OpenCopy opens a database for reading alone, one that nobody writes: nothing
// is made beside it, and nothing migrated.
func OpenCopy(path string) (*DB, error) {
	db := &DB{path: path, write: map[string]*sql.Stmt{}, read: map[string]*sql.Stmt{}}
	if err := db.openCopy(); err != nil {
		db.Close()
		return nil, fmt.Errorf("database %s: %w", filepath.Base(path), err)
	}
	return db, nil
}

func (db *DB) openCopy() error {
	if _, err := os.Stat(db.path); err != nil { // SQLite would make one
		return err
	}
	var err error
	if db.readers, err = sql.Open("sqlite", dsn(db.path, "query_only(1)", "cache_size(-16384)")+"&mode=ro&immutable=1"); err != nil {
		return err
	}
	var version, app int
	for q, p := range map[string]*int{"PRAGMA user_version": &version, "PRAGMA application_id": &app} {
		if err := db.readers.QueryRow(q).Scan(p); err != nil {
			return err
		}
	}
	switch {
	case app != application:
		return errors.New("not a database of signet-server")
	case version > format:
		return fmt.Errorf("%w: format %d, this program knows %d", ErrNewer, version, format)
	case version < format:
		return fmt.Errorf("format %d, this program copies %d alone", version, format)
	}
	return nil
}

// CopyTo writes the database as it is at one moment to a new file, while others
// read and write it, and makes the file durable.
func (db *DB) CopyTo(path string) error {
	db.writing.Lock()
	_, err := db.writer.ExecContext(context.Background(), "VACUUM INTO ?", path)
	db.writing.Unlock()
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = errors.Join(f.Chmod(0o600), durable.SyncFile(f), f.Close()); err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	return err
}

func dsn(path string, pragmas ...string) string {
	v := url.Values{"_pragma": pragmas}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: v.Encode()}).String()
}

// migrate brings the schema to format. Each step is one transaction; before
// the first the database is copied beside itself.
func (db *DB) migrate() error {
	ctx := context.Background()
	var version, app, tables int
	for q, p := range map[string]*int{"PRAGMA user_version": &version, "PRAGMA application_id": &app, "SELECT count(*) FROM sqlite_master": &tables} {
		if err := db.writer.QueryRowContext(ctx, q).Scan(p); err != nil {
			return err
		}
	}
	switch {
	case tables > 0 && app != application:
		return errors.New("not a database of signet-server")
	case version > format:
		return fmt.Errorf("%w: format %d, this program knows %d", ErrNewer, version, format)
	case version > 0 && version < format:
		if _, err := db.writer.ExecContext(ctx, "VACUUM INTO ?", fmt.Sprintf("%s.format%d", db.path, version)); err != nil {
			return fmt.Errorf("copy before migrating: %w", err)
		}
	}
	for v := version; v < format; v++ {
		q := fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", steps[v], application, v+1)
		if _, err := db.writer.ExecContext(ctx, q); err != nil {
			db.writer.ExecContext(ctx, "ROLLBACK")
			return fmt.Errorf("migrate from format %d: %w", v, err)
		}
	}
	return nil
}

// Close releases the database.
func (db *DB) Close() error {
	db.writing.Lock()
	defer db.writing.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	var errs []error
	for _, m := range []map[string]*sql.Stmt{db.read, db.write} {
		for _, s := range m {
			s.Close()
		}
	}
	if db.readers != nil {
		errs = append(errs, db.readers.Close())
	}
	if db.writer != nil {
		errs = append(errs, db.writer.Close())
	}
	if db.writers != nil {
		errs = append(errs, db.writers.Close())
	}
	return errors.Join(errs...)
}

// reading returns a prepared statement for readers.
func (db *DB) reading(q string) (*sql.Stmt, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if s := db.read[q]; s != nil {
		return s, nil
	}
	s, err := db.readers.Prepare(q)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	db.read[q] = s
	return s, nil
}

// A Tx is a transaction of the one writer, inside Update.
type Tx struct {
	db   *DB
	ctx  context.Context
	used map[LogNum]int64 // by how much what logs are charged changes
}

// Update runs f in a transaction and commits it durably; after an error
// nothing of it holds, but for a failure of the commit itself, after which the
// caller must read again what is there. One Update runs at a time.
func (db *DB) Update(f func(*Tx) error) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	tx := &Tx{db: db, ctx: context.Background()}
	if _, err := db.writer.ExecContext(tx.ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := f(tx)
	if err == nil {
		err = tx.bill()
	}
	if err == nil {
		if _, err = db.writer.ExecContext(tx.ctx, "COMMIT"); err == nil {
			return nil
		}
		err = fmt.Errorf("commit: %w", err)
	}
	// SQLite has rolled back by itself after some failures of COMMIT; then
	// this fails too and changes nothing.
	db.writer.ExecContext(tx.ctx, "ROLLBACK")
	return full(err)
}

func (tx *Tx) stmt(q string) (*sql.Stmt, error) {
	s := tx.db.write[q]
	if s == nil {
		var err error
		if s, err = tx.db.writer.PrepareContext(tx.ctx, q); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		tx.db.write[q] = s
	}
	return s, nil
}

func (tx *Tx) exec(q string, args ...any) (sql.Result, error) {
	s, err := tx.stmt(q)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(tx.ctx, args...)
}

// queryRow scans the one row that q finds; signet.ErrNotFound if none.
func (tx *Tx) queryRow(q string, dst []any, args ...any) error {
	s, err := tx.stmt(q)
	if err != nil {
		return err
	}
	return found(s.QueryRowContext(tx.ctx, args...).Scan(dst...))
}

func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return signet.ErrNotFound
	}
	return err
}
