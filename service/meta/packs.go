package meta

import (
	"fmt"

	"signet"
	"signet/service/blob"
)

// A Pack is what the index knows of a pack.
type Pack struct {
	blob.Mark       // durable and indexed up to here; End is Reserved while a compaction makes it
	Live      int64 // bytes of its records that objects of the index lie in
}

// Reserved is the end of a pack that a compaction makes.
const Reserved = -1

// Dead is how many bytes of the pack's records no object lies in.
func (p Pack) Dead() int64 { return max(p.End-blob.HeaderSize-p.Live, 0) }

// Marks stores how far packs are durable and indexed.
func (tx *Tx) Marks(marks []blob.Mark) error {
	for _, m := range marks {
		_, err := tx.exec("INSERT INTO packs (pack, end) VALUES (?, ?) ON CONFLICT (pack) DO UPDATE SET end = max(end, excluded.end)", m.Pack, m.End)
		if err != nil {
			return fmt.Errorf("mark pack: %w", err)
		}
	}
	return nil
}

// Packs returns what Marks stored and what is live of each, in rising order.
func (db *DB) Packs() (out []Pack, err error) {
	rows, err := db.readers.Query("SELECT pack, end, live FROM packs ORDER BY pack")
	if err != nil {
		return nil, fmt.Errorf("read packs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Pack
		if err := rows.Scan(&p.Pack, &p.End, &p.Live); err != nil {
			return nil, fmt.Errorf("read packs: %w", err)
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// Marks returns what Tx.Marks stored.
func (db *DB) Marks() ([]blob.Mark, error) {
	packs, err := db.Packs()
	out := make([]blob.Mark, len(packs))
	for i, p := range packs {
		out[i] = p.Mark
	}
	return out, err
}

// Reserve notes that a compaction makes a pack. Until Marks says how long it is,
// nothing in it counts: a crash leaves a file that the next gc takes away, and
// whose copies are not taken for objects.
func (tx *Tx) Reserve(pack uint32) error {
	if _, err := tx.exec("INSERT INTO packs (pack, end) VALUES (?, ?)", pack, Reserved); err != nil {
		return fmt.Errorf("reserve pack: %w", err)
	}
	return nil
}

// Forget takes packs whose files are gone out of the index. The highest keeps a
// row, with nothing in it, so that its number is never given again: what a backup
// has under a number would be something else.
func (tx *Tx) Forget(packs []uint32) error {
	for _, p := range packs {
		_, err := tx.exec("DELETE FROM packs WHERE pack = ? AND live = 0 AND pack < (SELECT max(pack) FROM packs)", p)
		if err == nil {
			_, err = tx.exec("UPDATE packs SET end = 0 WHERE pack = ? AND live = 0", p)
		}
		if err != nil {
			return fmt.Errorf("forget pack: %w", err)
		}
	}
	return nil
}

// lives is by how much the live bytes of packs change.
type lives map[uint32]int64

func (tx *Tx) addLive(by lives) error {
	for p, n := range by {
		if n == 0 {
			continue
		}
		_, err := tx.exec("INSERT INTO packs (pack, end, live) VALUES (?, 0, ?) ON CONFLICT (pack) DO UPDATE SET live = live + excluded.live", p, n)
		if err != nil {
			return fmt.Errorf("count live bytes: %w", err)
		}
	}
	return nil
}

// A Moved is an object of a log's region and where it lies now.
type Moved struct {
	Log   LogNum
	ID    signet.ObjectID
	Place blob.Place
}

// Move says where objects lie now: the same bytes, elsewhere and durable. Those
// that are not indexed any more are passed over.
func (tx *Tx) Move(moves []Moved) error {
	live := lives{}
	for _, m := range moves {
		o, err := tx.Object(m.Log, m.ID)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := tx.exec("UPDATE objects SET pack = ?, off = ?, len = ? WHERE log = ? AND id = ?",
			m.Place.Pack, m.Place.Offset, m.Place.Length, m.Log, m.ID[:]); err != nil {
			return fmt.Errorf("move object: %w", err)
		}
		live[o.Place.Pack] -= o.Place.Record()
		live[m.Place.Pack] += m.Place.Record()
	}
	return tx.addLive(live)
}

// Drop takes objects of a log's region out of the index for good, in the
// transaction of the record that says so, and returns their bytes. Those that are
// not there are passed over. What they take on disk is dead from then on.
func (tx *Tx) Drop(log LogNum, ids []signet.ObjectID) (bytes int64, err error) {
	live := lives{}
	for _, id := range ids {
		o, err := tx.Object(log, id)
		if isNotFound(err) {
			continue
		}
		if err == nil {
			err = tx.remove(log, id)
		}
		if err != nil {
			return bytes, err
		}
		if o.Entry != 0 {
			tx.charge(log, -int64(o.Place.Length))
		}
		live[o.Place.Pack] -= o.Place.Record()
		bytes += int64(o.Place.Length)
	}
	return bytes, tx.addLive(live)
}

func (tx *Tx) remove(log LogNum, id signet.ObjectID) error {
	if _, err := tx.exec("DELETE FROM objects WHERE log = ? AND id = ?", log, id[:]); err != nil {
		return fmt.Errorf("drop object: %w", err)
	}
	return nil
}

// Expire drops up to max objects that no entry names and that were added before a
// time (ms), the oldest first, and returns them.
func (tx *Tx) Expire(before int64, max int) (gone []Object, err error) {
	s, err := tx.stmt("SELECT log, id, pack, off, len, entry, device, added FROM objects INDEXED BY unpinned WHERE entry = 0 AND added < ? ORDER BY added LIMIT ?")
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(tx.ctx, before, max)
	if err != nil {
		return nil, fmt.Errorf("find unnamed objects: %w", err)
	}
	defer rows.Close()
	var logs []LogNum
	for rows.Next() {
		var o Object
		var log LogNum
		var id []byte
		if err := rows.Scan(append([]any{&log, &id}, o.fields()...)...); err != nil {
			return nil, fmt.Errorf("find unnamed objects: %w", err)
		}
		copy(o.ID[:], id)
		gone, logs = append(gone, o), append(logs, log)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find unnamed objects: %w", err)
	}
	live := lives{}
	for i, o := range gone {
		if err := tx.remove(logs[i], o.ID); err != nil {
			return nil, err
		}
		live[o.Place.Pack] -= o.Place.Record()
	}
	return gone, tx.addLive(live)
}

// Expiring tells, by pack, how many objects Expire would drop, and their bytes, those
// of their records included.
func (db *DB) Expiring(before int64) (objects, bytes int64, records map[uint32]int64, err error) {
	rows, err := db.readers.Query("SELECT pack, count(*), sum(len) FROM objects INDEXED BY unpinned WHERE entry = 0 AND added < ? GROUP BY pack", before)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("count unnamed objects: %w", err)
	}
	defer rows.Close()
	records = map[uint32]int64{}
	for rows.Next() {
		var p uint32
		var n, b int64
		if err := rows.Scan(&p, &n, &b); err != nil {
			return 0, 0, nil, fmt.Errorf("count unnamed objects: %w", err)
		}
		objects, bytes = objects+n, bytes+b
		records[p] = b + n*blob.RecordSize
	}
	return objects, bytes, records, rows.Err()
}

// Renew gives objects that no entry names another 30 days, as if they were added
// at a time (ms), and returns those that are not indexed any more.
func (tx *Tx) Renew(log LogNum, ids []signet.ObjectID, at int64) (missing []signet.ObjectID, err error) {
	for _, id := range ids {
		r, err := tx.exec("UPDATE objects SET added = iif(entry = 0, max(added, ?), added) WHERE log = ? AND id = ?", at, log, id[:])
		var n int64
		if err == nil {
			n, err = r.RowsAffected()
		}
		if err != nil {
			return nil, fmt.Errorf("renew object: %w", err)
		}
		if n == 0 {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// Names reports whether an object of the index lies in a pack. It reads the whole
// index.
func (db *DB) Names(pack uint32) (bool, error) {
	var n bool
	if err := db.readers.QueryRow("SELECT EXISTS (SELECT 1 FROM objects WHERE pack = ?)", pack).Scan(&n); err != nil {
		return false, fmt.Errorf("search pack: %w", err)
	}
	return n, nil
}

// A Miscount is a pack whose live bytes are not what Packs says.
type Miscount struct {
	Pack        uint32
	Said, Lives int64
}

// Miscounts compares what is said to be live with the index. It reads all of it, at
// one moment.
func (db *DB) Miscounts() (out []Miscount, err error) {
	rows, err := db.readers.Query(`SELECT pack, sum(said), sum(lives) FROM (SELECT pack, live AS said, 0 AS lives FROM packs
		UNION ALL SELECT pack, 0, sum(len + 72) FROM objects GROUP BY pack) GROUP BY pack HAVING sum(said) <> sum(lives)`)
	if err != nil {
		return nil, fmt.Errorf("count live bytes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var m Miscount
		if err := rows.Scan(&m.Pack, &m.Said, &m.Lives); err != nil {
			return nil, fmt.Errorf("count live bytes: %w", err)
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

// Recount sets what is live of a pack.
func (tx *Tx) Recount(m Miscount) error {
	return tx.addLive(lives{m.Pack: m.Lives - m.Said})
}
