package meta

import (
	"errors"
	"fmt"
	"strings"

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
	live := lives{}
	for _, o := range objects {
		r, err := tx.exec("INSERT INTO objects VALUES (?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING",
			log, o.ID[:], o.Place.Pack, o.Place.Offset, o.Place.Length, o.Device, o.Added)
		if err != nil {
			return fmt.Errorf("index object: %w", err)
		}
		if n, err := r.RowsAffected(); err != nil {
			return fmt.Errorf("index object: %w", err)
		} else if n > 0 {
			live[o.Place.Pack] += o.Place.Record()
		}
	}
	return tx.addLive(live)
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

// findAtOnce is how many objects one statement of Find looks up: to begin and end a
// statement costs several times what it costs to look up one.
const findAtOnce = 8

var findObjects = "SELECT id, pack, off, len, entry, device, added FROM objects WHERE log = ? AND id IN (?" +
	strings.Repeat(", ?", findAtOnce-1) + ")"

// Find finds those of a log's region's objects that there are.
func (db *DB) Find(log LogNum, ids []signet.ObjectID) (map[signet.ObjectID]Object, error) {
	all := make(map[signet.ObjectID]Object, len(ids))
	for len(ids) > 1 {
		n := min(len(ids), findAtOnce)
		if err := db.find(log, ids[:n], all); err != nil {
			return nil, fmt.Errorf("find objects: %w", err)
		}
		ids = ids[n:]
	}
	for _, id := range ids {
		o, err := db.Object(log, id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find objects: %w", err)
		}
		all[id] = o
	}
	return all, nil
}

// find adds at most findAtOnce objects to all. Where there are fewer, the last one
// fills the statement up.
func (db *DB) find(log LogNum, ids []signet.ObjectID, all map[signet.ObjectID]Object) error {
	s, err := db.reading(findObjects)
	if err != nil {
		return err
	}
	args := make([]any, 1+findAtOnce)
	args[0] = log
	for i := range findAtOnce {
		args[1+i] = ids[min(i, len(ids)-1)][:]
	}
	rows, err := s.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var o Object
		var id []byte
		if err := rows.Scan(append([]any{&id}, o.fields()...)...); err != nil {
			return err
		}
		copy(o.ID[:], id)
		all[o.ID] = o
	}
	return rows.Err()
}

// Object is DB.Object inside the transaction.
func (tx *Tx) Object(log LogNum, id signet.ObjectID) (Object, error) {
	o := Object{ID: id}
	return o, tx.queryRow(findObject, o.fields(), log, id[:])
}

func isNotFound(err error) bool { return errors.Is(err, signet.ErrNotFound) }

// Pin pins an object to the entry at a position and returns what it was
// before; signet.ErrNotFound if there is no such object.
func (tx *Tx) Pin(log LogNum, id signet.ObjectID, at uint64) (before Object, err error) {
	if before, err = tx.Object(log, id); err != nil || before.Entry != 0 {
		return before, err
	}
	if _, err := tx.exec("UPDATE objects SET entry = ?, device = 0 WHERE log = ? AND id = ?", at+1, log, id[:]); err != nil {
		return before, fmt.Errorf("pin object: %w", err)
	}
	tx.charge(log, int64(before.Place.Length))
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

// A LostObject is an object of a log's region whose bytes are gone.
type LostObject struct {
	Log LogNum
	ID  signet.ObjectID
}

// Lost lists the objects that have a row and whose bytes are gone.
func (db *DB) Lost() (list []LostObject, err error) {
	rows, err := db.readers.Query("SELECT log, id FROM lost JOIN objects USING (log, id)")
	if err != nil {
		return nil, fmt.Errorf("list lost objects: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var o LostObject
		var id []byte
		if err := rows.Scan(&o.Log, &id); err != nil {
			return nil, fmt.Errorf("list lost objects: %w", err)
		}
		copy(o.ID[:], id)
		list = append(list, o)
	}
	return list, rows.Err()
}

// Lose notes that the bytes of an object are gone. Its row stays: entries name it, and
// whoever sends it again finds its place by Found.
func (tx *Tx) Lose(log LogNum, id signet.ObjectID) error {
	if _, err := tx.exec("INSERT INTO lost VALUES (?, ?) ON CONFLICT DO NOTHING", log, id[:]); err != nil {
		return fmt.Errorf("lose object: %w", err)
	}
	return nil
}

// Found says where a lost object lies now: durable, as one that PutObjects adds.
func (tx *Tx) Found(log LogNum, id signet.ObjectID, at blob.Place) error {
	if _, err := tx.exec("DELETE FROM lost WHERE log = ? AND id = ?", log, id[:]); err != nil {
		return fmt.Errorf("find object: %w", err)
	}
	return tx.Move([]Moved{{Log: log, ID: id, Place: at}})
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
