package meta

import (
	"errors"
	"fmt"

	"signet"
)

// A ClaimKind says what a claim is for.
type ClaimKind int

// Kinds of claims.
const (
	RegionClaim ClaimKind = 1 // by a region's genesis: holder is the region
)

// Claim records that holder made a claim, once for ever. An error wraps
// signet.ErrConflict where somebody else did before.
func (tx *Tx) Claim(kind ClaimKind, hash signet.Hash, holder [32]byte) error {
	var there []byte
	err := tx.queryRow("SELECT holder FROM claims WHERE kind = ? AND hash = ?", []any{&there}, kind, hash[:])
	switch {
	case err == nil && string(there) == string(holder[:]):
		return nil
	case err == nil:
		return fmt.Errorf("claimed before: %w", signet.ErrConflict)
	case !errors.Is(err, signet.ErrNotFound):
		return fmt.Errorf("read claim: %w", err)
	}
	if _, err := tx.exec("INSERT INTO claims VALUES (?, ?, ?)", kind, hash[:], holder[:]); err != nil {
		return fmt.Errorf("write claim: %w", err)
	}
	return nil
}

// Claimed tells who made a claim; signet.ErrNotFound if nobody did.
func (db *DB) Claimed(kind ClaimKind, hash signet.Hash) (holder [32]byte, err error) {
	s, err := db.reading("SELECT holder FROM claims WHERE kind = ? AND hash = ?")
	if err != nil {
		return holder, err
	}
	var b []byte
	err = found(s.QueryRow(kind, hash[:]).Scan(&b))
	copy(holder[:], b)
	return holder, err
}

// Invite keeps an invitation, which runs out at expiry, for whoever holds its
// key, and forgets those that ran out before a time. Times are in ms.
func (tx *Tx) Invite(claim [32]byte, invitation []byte, expiry, forget int64) error {
	if _, err := tx.exec("DELETE FROM invitations WHERE expiry < ?", forget); err != nil {
		return fmt.Errorf("forget invitations: %w", err)
	}
	if _, err := tx.exec("INSERT INTO invitations VALUES (?, ?, ?)", claim[:], invitation, expiry); err != nil {
		return fmt.Errorf("keep invitation: %w", err)
	}
	return nil
}

// Invitation finds what Invite kept; signet.ErrNotFound if there is none.
func (db *DB) Invitation(claim [32]byte) (invitation []byte, err error) {
	s, err := db.reading("SELECT bytes FROM invitations WHERE claim = ?")
	if err != nil {
		return nil, err
	}
	return invitation, found(s.QueryRow(claim[:]).Scan(&invitation))
}

// Setting reads a setting; signet.ErrNotFound if it was never set.
func (db *DB) Setting(name string) (value []byte, err error) {
	s, err := db.reading("SELECT value FROM settings WHERE name = ?")
	if err != nil {
		return nil, err
	}
	return value, found(s.QueryRow(name).Scan(&value))
}

// Set writes a setting; an empty value removes it.
func (tx *Tx) Set(name string, value []byte) error {
	var err error
	if len(value) == 0 {
		_, err = tx.exec("DELETE FROM settings WHERE name = ?", name)
	} else {
		_, err = tx.exec("INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	}
	if err != nil {
		return fmt.Errorf("write setting %s: %w", name, err)
	}
	return nil
}

// PutSealed stores a sealed record unless one of the same or a higher version
// is there, which is signet.ErrConflict. max bounds the records of one owner;
// past it the error wraps signet.ErrNotAllowed.
func (tx *Tx) PutSealed(owner, subject [32]byte, version uint64, record []byte, max int) error {
	var there uint64
	var same bool
	err := tx.queryRow("SELECT version, bytes = ? FROM sealed WHERE owner = ? AND subject = ?", []any{&there, &same}, record, owner[:], subject[:])
	switch {
	case err == nil && same:
		return nil
	case err == nil && there >= version:
		return fmt.Errorf("sealed record of version %d, %d is there: %w", version, there, signet.ErrConflict)
	case err != nil && !errors.Is(err, signet.ErrNotFound):
		return fmt.Errorf("read sealed record: %w", err)
	}
	var n int
	if err := tx.queryRow("SELECT count(*) FROM sealed WHERE owner = ?", []any{&n}, owner[:]); err != nil {
		return fmt.Errorf("count sealed records: %w", err)
	}
	if n >= max {
		return fmt.Errorf("%d sealed records of one owner: %w", n, signet.ErrNotAllowed)
	}
	_, err = tx.exec("INSERT INTO sealed VALUES (?, ?, ?, ?) ON CONFLICT (owner, subject) DO UPDATE SET version = excluded.version, bytes = excluded.bytes",
		owner[:], subject[:], int64(version), record)
	if err != nil {
		return fmt.Errorf("write sealed record: %w", err)
	}
	return nil
}

// Sealed returns the sealed records of an owner.
func (db *DB) Sealed(owner [32]byte) (out [][]byte, err error) {
	s, err := db.reading("SELECT bytes FROM sealed WHERE owner = ? ORDER BY subject")
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(owner[:])
	if err != nil {
		return nil, fmt.Errorf("read sealed records: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("read sealed records: %w", err)
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// Integrity runs SQLite's own check and returns what it finds wrong.
func (db *DB) Integrity() (problems []string, err error) {
	rows, err := db.readers.Query("PRAGMA integrity_check")
	if err != nil {
		return nil, fmt.Errorf("integrity check: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, fmt.Errorf("integrity check: %w", err)
		}
		if s != "ok" {
			problems = append(problems, s)
		}
	}
	return problems, rows.Err()
}
