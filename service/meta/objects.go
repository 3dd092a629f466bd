package meta

import (
	"errors"
	"fmt"

	"signet"
	"signet/service/blob"
)

// A DeviceNum is the short name of a device in this database; 0 is nobody.
type DeviceNum int64

// An Object is a row of the index of objects.
type Object struct {
	ID     signet.ObjectID
	Place  blob.Place
	Entry  uint64    // 1 + position of the entry that pinned it; 0: none
	Device DeviceNum // who sent it
	Added  int64     // ms
}

// PutObjects adds objects of a log's region to the index; those that are there
// already stay. Their packs must have been synced.
func (tx *Tx) PutObjects(log LogNum, objects []Object) error {
	for _, o := range objects {
		_, err := tx.exec("INSERT INTO objects VALUES (?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING",
			log, o.ID[:], o.Place.Pack, o.Place.Offset, o.Place.Length, o.Device, o.Added)
		if err != nil {
			return fmt.Errorf("index object: %w", err)
		}
	}
	return nil
}

// Marks stores how far packs are durable and indexed.
func (tx *Tx) Marks(marks []blob.Mark) error {
	for _, m := range marks {
		_, err := tx.exec("INSERT INTO packs VALUES (?, ?) ON CONFLICT (pack) DO UPDATE SET end = max(end, excluded.end)", m.Pack, m.End)
		if err != nil {
			return fmt.Errorf("mark pack: %w", err)
		}
	}
	return nil
}

// Marks returns what Tx.Marks stored.
func (db *DB) Marks() (out []blob.Mark, err error) {
	rows, err := db.readers.Query("SELECT pack, end FROM packs")
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var m blob.Mark
		if err := rows.Scan(&m.Pack, &m.End); err != nil {
			return nil, fmt.Errorf("read marks: %w", err)
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

const findObject = "SELECT pack, off, len, entry, device, added FROM objects WHERE log = ? AND id = ?"

func (o *Object) fields() []any {
	return []any{&o.Place.Pack, &o.Place.Offset, &o.Place.Length, &o.Entry, &o.Device, &o.Added}
}

// Object finds an object of a log's region; signet.ErrNotFound if there is
// none.
func (db *DB) Object(log LogNum, id signet.ObjectID) (Object, error) {
	o := Object{ID: id}
	s, err := db.reading(findObject)
	if err != nil {
		return o, err
	}
	return o, found(s.QueryRow(log, id[:]).Scan(o.fields()...))
}

// Pin pins an object to the entry at a position and returns what it was
// before; signet.ErrNotFound if there is no such object.
func (tx *Tx) Pin(log LogNum, id signet.ObjectID, at uint64) (before Object, err error) {
	before.ID = id
	if err := tx.queryRow(findObject, before.fields(), log, id[:]); err != nil || before.Entry != 0 {
		return before, err
	}
	if _, err := tx.exec("UPDATE objects SET entry = ?, device = 0 WHERE log = ? AND id = ?", at+1, log, id[:]); err != nil {
		return before, fmt.Errorf("pin object: %w", err)
	}
	return before, nil
}

// Has reports whether an object is indexed.
func (tx *Tx) Has(log LogNum, id signet.ObjectID) (bool, error) {
	var one int
	err := tx.queryRow("SELECT 1 FROM objects WHERE log = ? AND id = ?", []any{&one}, log, id[:])
	if errors.Is(err, signet.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Move says where an object lies now: check --repair calls it when it found
// the bytes elsewhere than the index says.
func (tx *Tx) Move(log LogNum, id signet.ObjectID, p blob.Place) error {
	_, err := tx.exec("UPDATE objects SET pack = ?, off = ?, len = ? WHERE log = ? AND id = ?", p.Pack, p.Offset, p.Length, log, id[:])
	if err != nil {
		return fmt.Errorf("move object: %w", err)
	}
	return nil
}

// Objects calls each with every object of a log's region, in the order of
// their packs.
func (db *DB) Objects(log LogNum, each func(Object) error) error {
	rows, err := db.readers.Query("SELECT id, pack, off, len, entry, device, added FROM objects WHERE log = ? ORDER BY pack, off", log)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var o Object
		var id []byte
		if err := rows.Scan(append([]any{&id}, o.fields()...)...); err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		copy(o.ID[:], id)
		if err := each(o); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Device returns the short name of a device, made if it has none.
func (db *DB) Device(id signet.DeviceID) (n DeviceNum, err error) {
	s, err := db.reading("SELECT num FROM devices WHERE id = ?")
	if err != nil {
		return 0, err
	}
	if err = found(s.QueryRow(id[:]).Scan(&n)); !errors.Is(err, signet.ErrNotFound) {
		return n, err
	}
	err = db.Update(func(tx *Tx) error {
		if _, err := tx.exec("INSERT INTO devices (id) VALUES (?) ON CONFLICT DO NOTHING", id[:]); err != nil {
			return err
		}
		return tx.queryRow("SELECT num FROM devices WHERE id = ?", []any{&n}, id[:])
	})
	if err != nil {
		return 0, fmt.Errorf("number device: %w", err)
	}
	return n, nil
}

// Unpinned sums the bytes per device of objects that no entry names.
func (db *DB) Unpinned() (map[DeviceNum]int64, error) {
	rows, err := db.readers.Query("SELECT device, sum(len) FROM objects WHERE entry = 0 GROUP BY device")
	if err != nil {
		return nil, fmt.Errorf("sum uploads: %w", err)
	}
	defer rows.Close()
	out := map[DeviceNum]int64{}
	for rows.Next() {
		var d DeviceNum
		var n int64
		if err := rows.Scan(&d, &n); err != nil {
			return nil, fmt.Errorf("sum uploads: %w", err)
		}
		out[d] = n
	}
	return out, rows.Err()
}

// A Count is a size of the database in things.
type Count struct {
	Logs, Records, Objects, Unpinned int64
	ObjectBytes, UnpinnedBytes       int64
}

// Count counts. It reads the whole index of objects.
func (db *DB) Count() (c Count, err error) {
	err = db.readers.QueryRow(`SELECT (SELECT count(*) FROM logs), (SELECT coalesce(sum(size), 0) FROM logs), count(*), coalesce(sum(len), 0),
		coalesce(sum(entry = 0), 0), coalesce(sum(len * (entry = 0)), 0) FROM objects`).
		Scan(&c.Logs, &c.Records, &c.Objects, &c.ObjectBytes, &c.Unpinned, &c.UnpinnedBytes)
	if err != nil {
		return c, fmt.Errorf("count: %w", err)
	}
	return c, nil
}
