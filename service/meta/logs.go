package meta

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"signet"
)

// A LogNum is the short name of a log in this database, 1 and up.
type LogNum int64

const (
	positionBits = 40
	maxPosition  = 1<<positionBits - 1
)

func position(log LogNum, at uint64) int64 { return int64(log)<<positionBits | int64(at) }

// A Log is what the database knows of a log as a whole.
type Log struct {
	Num  LogNum
	ID   signet.LogID
	Size uint64
	Time int64  // ms, of the newest leaf and checkpoint
	Tip  []byte // newest checkpoint
	Full []byte // newest full checkpoint
	Used int64  // bytes of its records, and of the objects that they name
}

// Logs lists all logs in the order of their making.
func (db *DB) Logs() ([]Log, error) {
	s, err := db.reading("SELECT num, kind, id, size, time, tip, full, used FROM logs ORDER BY num")
	if err != nil {
		return nil, err
	}
	rows, err := s.Query()
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	defer rows.Close()
	var out []Log
	for rows.Next() {
		var l Log
		var id []byte
		if err := rows.Scan(&l.Num, &l.ID.Kind, &id, &l.Size, &l.Time, &l.Tip, &l.Full, &l.Used); err != nil {
			return nil, fmt.Errorf("list logs: %w", err)
		}
		if copy(l.ID.ID[:], id) != 32 {
			return nil, fmt.Errorf("log %d: identifier of %d bytes", l.Num, len(id))
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

// NewLog makes an empty log.
func (tx *Tx) NewLog(id signet.LogID) (LogNum, error) {
	r, err := tx.exec("INSERT INTO logs (kind, id, size, time, tip, full) VALUES (?, ?, 0, 0, x'', x'')", id.Kind, id.ID[:])
	if err != nil {
		return 0, fmt.Errorf("make log %s: %w", id, err)
	}
	n, err := r.LastInsertId()
	return LogNum(n), err
}

// SetLog stores size, time and checkpoints of l. What it is charged follows from
// what else the transaction does.
func (tx *Tx) SetLog(l Log) error {
	if _, err := tx.exec("UPDATE logs SET size = ?, time = ?, tip = ?, full = ? WHERE num = ?", l.Size, l.Time, l.Tip, l.Full, l.Num); err != nil {
		return fmt.Errorf("update log %s: %w", l.ID, err)
	}
	return nil
}

func headHash(log LogNum, head []byte) []byte {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(log))
	h.Write(n[:])
	h.Write(head)
	return h.Sum(nil)[:16]
}

// Append stores a record at a position of a log, the next one.
func (tx *Tx) Append(log LogNum, at uint64, r signet.Record) error {
	if at > maxPosition {
		return fmt.Errorf("log %d is full", log)
	}
	p := position(log, at)
	if _, err := tx.exec("INSERT INTO leaves VALUES (?, ?)", p, r.Leaf); err != nil {
		return fmt.Errorf("append to log %d: %w", log, err)
	}
	if _, err := tx.exec("INSERT INTO records VALUES (?, ?, ?)", p, notNil(r.Head), notNil(r.Blob)); err != nil {
		return fmt.Errorf("append to log %d: %w", log, err)
	}
	if _, err := tx.exec("INSERT INTO heads VALUES (?, ?)", headHash(log, r.Head), p); err != nil {
		return fmt.Errorf("append to log %d: %w", log, err)
	}
	tx.charge(log, int64(len(r.Leaf)+len(r.Head)+len(r.Blob)))
	return nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// ErrDamaged says that the database lacks what it must have.
var ErrDamaged = errors.New("database is damaged")

// Lookup finds the record of a log with exactly these head bytes. An error
// wraps signet.ErrNotFound where there is none.
func (db *DB) Lookup(log LogNum, head []byte) (at uint64, err error) {
	s, err := db.reading("SELECT pos FROM heads WHERE hash = ?")
	if err != nil {
		return 0, err
	}
	var p int64
	err = found(s.QueryRow(headHash(log, head)).Scan(&p))
	return uint64(p & maxPosition), err
}

// Records calls each with the records of a log from position from to before
// to, in order, until it answers false. parts says what is read of each: a
// blob that is not asked for costs nothing.
func (db *DB) Records(log LogNum, from, to uint64, parts signet.Parts, each func(at uint64, r signet.Record) (more bool, err error)) error {
	columns := "leaf, x'', x''"
	switch parts {
	case signet.WithHead:
		columns = "leaf, head, x''"
	case signet.WithBlob:
		columns = "leaf, x'', blob"
	case signet.Whole:
		columns = "leaf, head, blob"
	}
	s, err := db.reading("SELECT leaves.pos, records.pos, " + columns +
		" FROM leaves LEFT JOIN records ON records.pos = leaves.pos WHERE leaves.pos >= ? AND leaves.pos < ? ORDER BY leaves.pos")
	if err != nil {
		return err
	}
	rows, err := s.Query(position(log, from), position(log, to))
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	defer rows.Close()
	for next := from; next < to; next++ {
		if !rows.Next() {
			if err := rows.Err(); err != nil {
				return fmt.Errorf("read records: %w", err)
			}
			return fmt.Errorf("log %d: record %d is missing: %w", log, next, ErrDamaged)
		}
		var p int64
		var body sql.NullInt64
		var r signet.Record
		if err := rows.Scan(&p, &body, &r.Leaf, &r.Head, &r.Blob); err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		if at := uint64(p & maxPosition); at != next || !body.Valid {
			return fmt.Errorf("log %d: record %d is missing: %w", log, next, ErrDamaged)
		}
		if more, err := each(next, r); err != nil || !more {
			return err
		}
	}
	return nil
}

// Shorten gives a record a blob that is so many bytes shorter.
func (tx *Tx) Shorten(log LogNum, at uint64, blob []byte, less int64) error {
	if _, err := tx.exec("UPDATE records SET blob = ? WHERE pos = ?", notNil(blob), position(log, at)); err != nil {
		return fmt.Errorf("shorten record %d of log %d: %w", at, log, err)
	}
	tx.charge(log, -less)
	return nil
}

// Has reports whether a journal has an entry of a type: a head begins with the
// length of the header, suite, format and type.
func (db *DB) Has(log LogNum, typ uint8) (bool, error) {
	s, err := db.reading("SELECT EXISTS(SELECT 1 FROM records WHERE pos >= ? AND pos <= ? AND substr(head, 5, 1) = ?)")
	if err != nil {
		return false, err
	}
	var any bool
	err = s.QueryRow(position(log, 0), position(log, maxPosition), []byte{typ}).Scan(&any)
	return any, err
}

// Blob reads the blob of one record.
func (db *DB) Blob(log LogNum, at uint64) (blob []byte, err error) {
	s, err := db.reading("SELECT blob FROM records WHERE pos = ?")
	if err != nil {
		return nil, err
	}
	return blob, found(s.QueryRow(position(log, at)).Scan(&blob))
}
