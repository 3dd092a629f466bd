package meta

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"signet"
	"signet/service/blob"
)

func open(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var journal = signet.Journal(signet.RegionID{3})

func TestRecordsComeBackInOrderAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b#?%.db")
	db := open(t, path)
	must(t, db.Update(func(tx *Tx) error {
		for _, id := range []signet.LogID{signet.Directory(signet.OrgID{1}), journal} {
			n, err := tx.NewLog(id)
			if err != nil {
				return err
			}
			for i := range uint64(10) {
				r := signet.Record{Leaf: fmt.Appendf(nil, "leaf %d of %d", i, n), Head: fmt.Appendf(nil, "head %d", i)}
				if err := tx.Append(n, i, r); err != nil {
					return err
				}
			}
			if err := tx.SetLog(Log{Num: n, ID: id, Size: 10, Time: 5, Tip: []byte("tip"), Full: []byte("full")}); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, db.Close())
	db = open(t, path)
	logs, err := db.Logs()
	must(t, err)
	if len(logs) != 2 || logs[1].ID != journal || logs[1].Size != 10 || string(logs[1].Full) != "full" {
		t.Fatalf("logs: %+v", logs)
	}
	var got []string
	must(t, db.Records(2, 7, 10, signet.Whole, func(at uint64, r signet.Record) (bool, error) {
		got = append(got, fmt.Sprintf("%d %s %s %d", at, r.Leaf, r.Head, len(r.Blob)))
		return at < 8, nil
	}))
	if s := strings.Join(got, ";"); s != "7 leaf 7 of 2 head 7 0;8 leaf 8 of 2 head 8 0" {
		t.Errorf("records: %s", s)
	}
	if at, err := db.Lookup(1, []byte("head 4")); err != nil || at != 4 {
		t.Errorf("lookup: %d, %v", at, err)
	}
	if _, err := db.Lookup(1, []byte("head")); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("lookup of another head: %v", err)
	}
	if b, err := db.Blob(2, 3); err != nil || len(b) != 0 {
		t.Errorf("blob: %q, %v", b, err)
	}
}

func TestFailedUpdateLeavesNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	boom := errors.New("boom")
	err := db.Update(func(tx *Tx) error {
		if _, err := tx.NewLog(journal); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if logs, err := db.Logs(); err != nil || len(logs) != 0 {
		t.Errorf("after a failed update: %v, %v", logs, err)
	}
	must(t, db.Update(func(tx *Tx) error { _, err := tx.NewLog(journal); return err }))
}

func TestMissingRecordIsDamage(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	must(t, db.Update(func(tx *Tx) error {
		for _, at := range []uint64{0, 1, 3} {
			if err := tx.Append(1, at, signet.Record{Leaf: []byte{1}, Head: []byte{byte(at)}}); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, to := range []uint64{4, 5} { // one in the middle, one at the end
		err := db.Records(1, 4-to/2, to, signet.LeafOnly, func(uint64, signet.Record) (bool, error) { return true, nil })
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("records before %d: %v", to, err)
		}
	}
}

func TestFindFindsThoseThatThereAre(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	var log, other LogNum
	var objects []Object
	for i := range 40 {
		objects = append(objects, Object{ID: signet.ObjectID{9, byte(i)}, Place: blob.Place{Pack: 1, Offset: uint32(100 * i), Length: 10}, Device: 4, Added: int64(i)})
	}
	must(t, db.Update(func(tx *Tx) (err error) {
		if log, err = tx.NewLog(journal); err == nil {
			other, err = tx.NewLog(signet.Journal(signet.RegionID{4}))
		}
		if err == nil {
			err = tx.PutObjects(log, objects[:30])
		}
		if err == nil {
			err = tx.PutObjects(other, objects[30:])
		}
		return err
	}))
	for _, n := range []int{0, 1, 2, findAtOnce - 1, findAtOnce, findAtOnce + 1, 3*findAtOnce + 2, 40} {
		var ids []signet.ObjectID
		want := map[signet.ObjectID]Object{}
		for _, o := range objects[40-n:] { // what is of the other region comes last
			ids = append(ids, o.ID, o.ID)
		}
		for _, o := range objects[min(30, 40-n):30] {
			want[o.ID] = o
		}
		got, err := db.Find(log, ids)
		must(t, err)
		if !maps.Equal(got, want) {
			t.Errorf("of the last %d: %d objects, want %d", n, len(got), len(want))
		}
		if got, err = db.Find(other, ids); err != nil || len(got) != min(n, 10) {
			t.Errorf("of the other region %d objects, %v", len(got), err)
		}
	}
}

func TestObjectsAreOfOneRegionAndPinnedOnce(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	dev, err := db.Device(signet.DeviceID{9})
	must(t, err)
	if again, _ := db.Device(signet.DeviceID{9}); again != dev || dev == 0 {
		t.Errorf("device numbers %d and %d", dev, again)
	}
	id := signet.ObjectID{7}
	must(t, db.Update(func(tx *Tx) error {
		o := Object{ID: id, Place: blob.Place{Pack: 1, Offset: 88, Length: 1000}, Device: dev, Added: 5}
		if err := tx.PutObjects(1, []Object{o}); err != nil {
			return err
		}
		o.Place.Pack = 2 // a second copy: the first stays
		return tx.PutObjects(1, []Object{o})
	}))
	if o, err := db.Object(1, id); err != nil || o.Place.Pack != 1 || o.Device != dev {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := db.Object(2, id); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("in another region: %v", err)
	}
	if u, err := db.Unpinned(); err != nil || u[dev] != 1000 {
		t.Errorf("unpinned: %v, %v", u, err)
	}
	for i, want := range []uint64{0, 5} {
		must(t, db.Update(func(tx *Tx) error {
			before, err := tx.Pin(1, id, uint64(4+i))
			if before.Entry != want {
				t.Errorf("pin %d: entry before %d, want %d", i, before.Entry, want)
			}
			return err
		}))
	}
	if u, _ := db.Unpinned(); len(u) != 0 {
		t.Errorf("unpinned after pin: %v", u)
	}
}

func TestSealedRecordsNeverGoBack(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	put := func(subject byte, version uint64, s string) error {
		return db.Update(func(tx *Tx) error {
			return tx.PutSealed([32]byte{1}, [32]byte{subject}, version, []byte(s), 2)
		})
	}
	must(t, put(1, 3, "c"))
	must(t, put(1, 3, "c")) // the same again
	for _, v := range []uint64{1, 3} {
		if err := put(1, v, "old"); !errors.Is(err, signet.ErrConflict) {
			t.Errorf("version %d: %v", v, err)
		}
	}
	must(t, put(1, 4, "d"))
	must(t, put(2, 1, "x"))
	if err := put(3, 1, "y"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("one too many: %v", err)
	}
	got, err := db.Sealed([32]byte{1})
	if err != nil || string(bytes.Join(got, nil)) != "dx" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClaimIsMadeOnce(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	claim := func(holder byte) error {
		return db.Update(func(tx *Tx) error { return tx.Claim(RegionClaim, signet.Hash{1}, [32]byte{holder}) })
	}
	must(t, claim(1))
	must(t, claim(1))
	if err := claim(2); !errors.Is(err, signet.ErrConflict) {
		t.Errorf("second claim: %v", err)
	}
}

func TestNewerFormatAndOtherDatabasesAreRefused(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer")
	db := open(t, newer)
	_, err := db.writer.ExecContext(t.Context(), "PRAGMA user_version = 99")
	must(t, err)
	must(t, db.Close())
	if _, err := Open(newer); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %v", err)
	}
	other := filepath.Join(dir, "other")
	o, err := sql.Open("sqlite", other)
	must(t, err)
	_, err = o.Exec("CREATE TABLE x (y)")
	must(t, err)
	must(t, o.Close())
	if _, err := Open(other); err == nil {
		t.Error("took a database of something else")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, group := range []int{1, 64} {
		b.Run(fmt.Sprint(group), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "db"))
			head := make([]byte, 1200)
			at := uint64(0)
			for b.Loop() {
				must(b, db.Update(func(tx *Tx) error {
					for range group {
						head = fmt.Appendf(head[:1200], "%d", at)
						if err := tx.Append(1, at, signet.Record{Leaf: head[:40], Head: head, Blob: head[:300]}); err != nil {
							return err
						}
						at++
					}
					return nil
				}))
			}
			b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
