package meta

import "fmt"

// A log is charged the bytes of its records and of the objects that they name,
// in the transaction in which that changes: so no restart, repetition or round
// of gc can make the sum wrong, and nobody ever adds up all rows.

// charge adds bytes to what a log is charged when the transaction ends.
func (tx *Tx) charge(log LogNum, bytes int64) {
	if tx.used == nil {
		tx.used = map[LogNum]int64{}
	}
	tx.used[log] += bytes
}

// Charged tells by how much the transaction has changed so far what a log is
// charged.
func (tx *Tx) Charged(log LogNum) int64 { return tx.used[log] }

// bill writes what logs are charged.
func (tx *Tx) bill() error {
	for log, n := range tx.used {
		if n == 0 {
			continue
		}
		if _, err := tx.exec("UPDATE logs SET used = used + ? WHERE num = ?", n, log); err != nil {
			return fmt.Errorf("charge log %d: %w", log, err)
		}
	}
	return nil
}

// An Overcount is a log that is charged something else than it has.
type Overcount struct {
	Log       LogNum
	Said, Has int64
}

// Overcounts compares what logs are charged with their rows. It reads the whole
// index, at one moment.
func (db *DB) Overcounts() (out []Overcount, err error) {
	rows, err := db.readers.Query(`SELECT num, used, has FROM (SELECT num, used,
		(SELECT coalesce(sum(len), 0) FROM objects WHERE log = num AND entry > 0)
		+ (SELECT coalesce(sum(length(leaf)), 0) FROM leaves WHERE pos >= num << 40 AND pos < (num + 1) << 40)
		+ (SELECT coalesce(sum(length(head) + length(blob)), 0) FROM records WHERE pos >= num << 40 AND pos < (num + 1) << 40) AS has
		FROM logs) WHERE used <> has`)
	if err != nil {
		return nil, fmt.Errorf("count what logs are charged: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var o Overcount
		if err := rows.Scan(&o.Log, &o.Said, &o.Has); err != nil {
			return nil, fmt.Errorf("count what logs are charged: %w", err)
		}
		out = append(out, o)
	}
	return out, rows.Err()
}

// Correct sets what a log is charged.
func (tx *Tx) Correct(o Overcount) { tx.charge(o.Log, o.Has-o.Said) }
