package sim

import (
	"bytes"
	"database/sql"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// What is written and cut off is read again, also beside a copy.
func TestMemoryIsAFile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	f, want := &memFile{}, []byte(nil)
	for n := range 300 {
		off, b := rnd.IntN(3*blockSize), bytes.Repeat([]byte{byte(n)}, rnd.IntN(9000))
		switch rnd.IntN(6) {
		case 0:
			f.truncate(int64(off))
			want = append(want, make([]byte, max(0, off-len(want)))...)[:off]
		case 1:
			before := slices.Clone(want)
			old := f
			f = old.copy()
			old.write(b, int64(off)) // is nothing to the copy
			want = before
		default:
			f.write(b, int64(off))
			want = append(want, make([]byte, max(0, off+len(b)-len(want)))...)
			copy(want[off:], b)
		}
		got := make([]byte, f.size)
		if k := f.read(got, 0); k != len(want) || !bytes.Equal(got, want) {
			t.Fatalf("%d: %d bytes, not %d, or others", n, k, len(want))
		}
	}
}

// A copy of an open database has what was committed, and its own future; whoever
// would write while another does is refused.
func TestMemoryHoldsDatabases(t *testing.T) {
	dir := scratch(t)
	open := func(dir string) *sql.DB {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "x.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	sum := func(db *sql.DB) (n int, whole string) {
		if err := errors.Join(db.QueryRow("SELECT coalesce(sum(n), 0) FROM t").Scan(&n), db.QueryRow("PRAGMA integrity_check").Scan(&whole)); err != nil {
			t.Error(err)
		}
		return n, whole
	}
	a := open(dir)
	for n := range 100 {
		if _, err := a.Exec("CREATE TABLE IF NOT EXISTS t(n, b); INSERT INTO t VALUES(1, zeroblob(?))", 100*n); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := a.Begin()
	if err == nil {
		_, err = tx.Exec("INSERT INTO t VALUES(1000, zeroblob(50000))")
	}
	if err != nil {
		t.Fatal(err)
	}
	second := open(dir)
	if _, err := second.Exec("INSERT INTO t VALUES(7, 0)"); err == nil {
		t.Error("two write at once")
	}
	copyMemory(dir, dir+"-2")
	t.Cleanup(func() { dropMemory(dir + "-2") })
	b := open(dir + "-2")
	if n, whole := sum(b); n != 100 || whole != "ok" {
		t.Errorf("the copy has %d: %s", n, whole)
	}
	if _, err := b.Exec("DELETE FROM t; VACUUM; INSERT INTO t VALUES(5, 0)"); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if n, whole := sum(a); n != 1100 || whole != "ok" {
		t.Errorf("the first has %d: %s", n, whole)
	}
	if err := errors.Join(a.Close(), second.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if n, whole := sum(open(dir + "-2")); n != 5 || whole != "ok" {
		t.Errorf("the copy has %d afterwards: %s", n, whole)
	}
	memory.Lock()
	defer memory.Unlock()
	for h := range memory.open {
		if h.f == memory.files[filepath.Join(dir, "x.db")] {
			t.Error("a closed database is open")
		}
	}
}
