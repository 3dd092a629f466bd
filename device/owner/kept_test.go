//go:build !race

package owner_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"signet/core/region"
)

// store asks or changes the index of a device that is closed meanwhile; a
// question's answer is a number.
func (d *device) store(query string) (n int) {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(string(d.home), "organisations", "*", "index.db"))
	if err != nil || len(files) != 1 {
		d.t.Fatal(files, err)
	}
	d.Close()
	defer d.open()
	db, err := sql.Open("sqlite", files[0])
	if err != nil {
		d.t.Fatal(err)
	}
	if strings.HasPrefix(query, "SELECT") {
		err = db.QueryRow(query).Scan(&n)
	} else {
		_, err = db.Exec(query)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// A start goes on from the tree that was kept; where what was kept is damaged,
// or of another time, it replays everything, and nobody notices.
func TestStartGoesOnFromTheTreeThatWasKept(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	for i := range region.SnapshotEvery + 100 {
		a.write(fmt.Sprintf("d%d/f%d", i%20, i), fmt.Sprint("file ", i))
	}
	a.add("R")
	a.sync()
	// Also where the same pass wrote a snapshot, whose entry it did not take in yet.
	if rows := a.store("SELECT count(*) FROM pages"); rows == 0 {
		t.Error("who made all of it keeps nothing")
	}
	b.add("R")
	b.sync()
	for _, damage := range []string{
		"",
		"UPDATE pages SET bytes = (SELECT bytes FROM pages WHERE page = 0) WHERE page = 1",
		"UPDATE pages SET bytes = x'00' WHERE page = 2",
		"DELETE FROM pages WHERE page = 1",
		"UPDATE notes SET value = x'0001' WHERE key LIKE 'tree/%'",
		"DELETE FROM notes WHERE key LIKE 'tree/%'",
	} {
		rows := b.store("SELECT count(*) FROM pages")
		if rows == 0 {
			t.Fatal("nothing is kept")
		}
		if damage != "" {
			b.store(damage)
		}
		if c := b.sync(); c.BytesUp+c.BytesDown+c.Entries != 0 {
			t.Errorf("%q: a start with nothing to do did %+v", damage, c)
		}
		a.write("d1/f1", "changed after "+damage)
		a.sync()
		b.sync()
		same(t, a, b)
	}
}
