package meta

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"signet"
	"signet/service/blob"
)

// put indexes objects 1 to n of log 1, 100 bytes each, in a pack; the ith was
// added at i.
func put(t *testing.T, db *DB, pack uint32, n int) {
	t.Helper()
	must(t, db.Update(func(tx *Tx) error {
		var all []Object
		for i := range n {
			all = append(all, Object{ID: signet.ObjectID{byte(pack), byte(i + 1)}, Added: int64(i + 1), Device: 1,
				Place: blob.Place{Pack: pack, Offset: uint32(16 + 172*i + 72), Length: 100}})
		}
		if err := tx.PutObjects(1, all); err != nil {
			return err
		}
		return tx.Marks([]blob.Mark{{Pack: pack, End: int64(16 + 172*n)}})
	}))
}

func wantPacks(t *testing.T, db *DB, want ...Pack) {
	t.Helper()
	got, err := db.Packs()
	must(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("packs %+v, want %+v", got, want)
	}
	if wrong, err := db.Miscounts(); err != nil || len(wrong) > 0 {
		t.Errorf("miscounts %+v, %v", wrong, err)
	}
}

func pack(n uint32, end, live int64) Pack { return Pack{blob.Mark{Pack: n, End: end}, live} }

func TestLiveBytesFollowEveryChange(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	id := func(i byte) signet.ObjectID { return signet.ObjectID{1, i} }
	put(t, db, 1, 10)
	put(t, db, 1, 10) // again: they are there
	wantPacks(t, db, pack(1, 1736, 1720))
	must(t, db.Update(func(tx *Tx) error {
		n, err := tx.Drop(1, []signet.ObjectID{id(1), id(2), {99}, id(1)})
		if n != 200 {
			t.Errorf("dropped %d bytes", n)
		}
		return err
	}))
	wantPacks(t, db, pack(1, 1736, 8*172))
	if p := pack(1, 1736, 8*172); p.Dead() != 2*172 {
		t.Errorf("dead %d", p.Dead())
	}
	must(t, db.Update(func(tx *Tx) error {
		if err := tx.Reserve(2); err != nil {
			return err
		}
		return tx.Move([]Moved{{1, id(3), blob.Place{Pack: 2, Offset: 88, Length: 100}}, {1, id(1), blob.Place{Pack: 2, Offset: 260, Length: 100}}})
	}))
	wantPacks(t, db, pack(1, 1736, 7*172), pack(2, Reserved, 172))
	if o, err := db.Object(1, id(3)); err != nil || o.Place.Pack != 2 || o.Added != 3 {
		t.Errorf("moved object %+v, %v", o, err)
	}
	must(t, db.Update(func(tx *Tx) error { return tx.Marks([]blob.Mark{{Pack: 2, End: 360}}) }))
	must(t, db.Update(func(tx *Tx) error { _, err := tx.Pin(1, id(5), 7); return err }))
	n, bytes, records, err := db.Expiring(7)
	if err != nil || n != 3 || bytes != 300 || records[1] != 2*172 || records[2] != 172 {
		t.Errorf("expiring: %d, %d, %v, %v", n, bytes, records, err)
	}
	var gone []Object
	must(t, db.Update(func(tx *Tx) (err error) { gone, err = tx.Expire(7, 2); return err })) // 3, 4; 5 is named
	if len(gone) != 2 || gone[0].ID != id(3) || gone[1].ID != id(4) || gone[0].Device != 1 {
		t.Errorf("expired %+v", gone)
	}
	wantPacks(t, db, pack(1, 1736, 6*172), pack(2, 360, 0))
	// A change that fails changes no number.
	db.Update(func(tx *Tx) error {
		tx.Drop(1, []signet.ObjectID{id(6)})
		return signet.ErrConflict
	})
	wantPacks(t, db, pack(1, 1736, 6*172), pack(2, 360, 0))
	for p, want := range map[uint32]bool{1: true, 2: false} {
		if got, err := db.Names(p); err != nil || got != want {
			t.Errorf("pack %d is named: %v, %v", p, got, err)
		}
	}
}

func TestForgetKeepsTheHighestNumber(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	for p := range uint32(3) {
		put(t, db, p+1, 2)
	}
	must(t, db.Update(func(tx *Tx) error {
		if _, err := tx.Drop(1, []signet.ObjectID{{1, 1}, {1, 2}, {3, 1}, {3, 2}}); err != nil {
			return err
		}
		return tx.Forget([]uint32{1, 2, 3})
	}))
	wantPacks(t, db, pack(2, 360, 344), pack(3, 0, 0)) // something lies in 2
	put(t, db, 4, 1)
	must(t, db.Update(func(tx *Tx) error { return tx.Forget([]uint32{3}) }))
	wantPacks(t, db, pack(2, 360, 344), pack(4, 188, 172))
}

func TestRenewedObjectsExpireLater(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	put(t, db, 1, 3)
	must(t, db.Update(func(tx *Tx) error { _, err := tx.Pin(1, signet.ObjectID{1, 3}, 0); return err }))
	must(t, db.Update(func(tx *Tx) error {
		missing, err := tx.Renew(1, []signet.ObjectID{{1, 1}, {9}, {1, 3}}, 50)
		if len(missing) != 1 || missing[0] != (signet.ObjectID{9}) {
			t.Errorf("missing %v", missing)
		}
		return err
	}))
	must(t, db.Update(func(tx *Tx) error {
		gone, err := tx.Expire(50, 10)
		if len(gone) != 1 || gone[0].ID != (signet.ObjectID{1, 2}) {
			t.Errorf("expired %+v", gone)
		}
		return err
	}))
	if o, err := db.Object(1, signet.ObjectID{1, 3}); err != nil || o.Added != 3 {
		t.Errorf("a named object was renewed: %+v, %v", o, err)
	}
}

func TestMiscountsAreFoundAndMended(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	put(t, db, 1, 3)
	must(t, db.Update(func(tx *Tx) error { _, err := tx.exec("UPDATE packs SET live = 0"); return err }))
	wrong, err := db.Miscounts()
	if err != nil || len(wrong) != 1 || wrong[0] != (Miscount{1, 0, 516}) {
		t.Fatalf("%+v, %v", wrong, err)
	}
	must(t, db.Update(func(tx *Tx) error { return tx.Recount(wrong[0]) }))
	wantPacks(t, db, pack(1, 532, 516))
}

// A database of format 1 gets its numbers.
func TestFormatOneIsMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := open(t, path)
	put(t, db, 1, 4)
	put(t, db, 2, 3)
	for _, q := range []string{"DROP TABLE lost", "ALTER TABLE logs DROP COLUMN used", "ALTER TABLE packs DROP COLUMN live", "DROP INDEX unpinned",
		"CREATE INDEX unpinned ON objects (device, len) WHERE entry = 0", "PRAGMA user_version = 1",
		"DELETE FROM objects WHERE pack = 1 AND added > 2", "DELETE FROM packs WHERE pack = 2"} {
		if _, err := db.writer.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	must(t, db.Close())
	db = open(t, path)
	wantPacks(t, db, pack(1, 704, 344), pack(2, 0, 516))
	must(t, db.Update(func(tx *Tx) error {
		gone, err := tx.Expire(100, 100)
		if len(gone) != 5 {
			t.Errorf("expired %d", len(gone))
		}
		return err
	}))
}

// A database of format 2 learns what its logs are charged.
func TestFormatTwoIsMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := open(t, path)
	must(t, db.Update(func(tx *Tx) error {
		for range 2 {
			if _, err := tx.NewLog(signet.LogID{Kind: signet.RegionLog, ID: [32]byte{byte(len(tx.used))}}); err != nil {
				return err
			}
			tx.charge(2, 0) // so that the other one has another name
		}
		return nil
	}))
	put(t, db, 1, 4) // of log 1
	must(t, db.Update(func(tx *Tx) error {
		if _, err := tx.Pin(1, signet.ObjectID{1, 2}, 0); err != nil {
			return err
		}
		r := signet.Record{Leaf: make([]byte, 10), Head: make([]byte, 200), Blob: make([]byte, 3000)}
		return errors.Join(tx.Append(1, 0, r), tx.Append(2, 0, r), tx.Append(2, 1, signet.Record{Leaf: []byte{1}}))
	}))
	want := []int64{3310, 3211}
	check := func(when string) {
		t.Helper()
		logs, err := db.Logs()
		must(t, err)
		if len(logs) != 2 || logs[0].Used != want[0] || logs[1].Used != want[1] {
			t.Errorf("%s: %+v", when, logs)
		}
		if wrong, err := db.Overcounts(); err != nil || len(wrong) > 0 {
			t.Errorf("%s: %+v, %v", when, wrong, err)
		}
	}
	check("as it was counted")
	for _, q := range []string{"DROP TABLE lost", "ALTER TABLE logs DROP COLUMN used", "PRAGMA user_version = 2"} {
		if _, err := db.writer.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	must(t, db.Close())
	db = open(t, path)
	check("as it was added up")

	// What is wrong is found and put right.
	if _, err := db.writer.ExecContext(t.Context(), "UPDATE logs SET used = 1 WHERE num = 2"); err != nil {
		t.Fatal(err)
	}
	wrong, err := db.Overcounts()
	if err != nil || len(wrong) != 1 || wrong[0] != (Overcount{2, 1, 3211}) {
		t.Fatalf("%+v, %v", wrong, err)
	}
	must(t, db.Update(func(tx *Tx) error { tx.Correct(wrong[0]); return nil }))
	check("as it was put right")
}
