package service

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/service/meta"
)

// stored makes a service with a region of some entries and objects, and stops
// it.
func stored(t *testing.T) (*bench, *writer, []signet.ObjectID) {
	b := newBench(t)
	w := b.found().newRegion(1)
	var ids []signet.ObjectID
	for i := range 5 {
		o := []byte(strings.Repeat("object ", 1000+i))
		must(t, w.session.Put(t.Context(), w.region, [][]byte{o}))
		ids = append(ids, nameOf(o))
		must(t, w.append(w.log(), w.entry(nameOf(o))))
	}
	must(t, b.Service.Close())
	t.Cleanup(b.open) // what newBench's cleanup closes
	return b, w, ids
}

func (b *bench) problems(t *testing.T, repair bool) (out []Problem) {
	t.Helper()
	_, err := Check(t.Context(), b.dir, b.key.Public(), repair, func(p Problem) { out = append(out, p) })
	must(t, err)
	return out
}

func edit(t *testing.T, b *bench, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(b.dir, databaseName))
	must(t, err)
	r, err := db.Exec(query)
	must(t, err)
	if n, _ := r.RowsAffected(); n == 0 {
		t.Fatalf("%s: nothing changed", query)
	}
	must(t, db.Close())
}

func TestCheckFindsNothingWrongWithWholeData(t *testing.T) {
	b, _, _ := stored(t)
	if p := b.problems(t, false); len(p) != 0 {
		t.Errorf("%+v", p)
	}
}

func packFile(t *testing.T, b *bench) string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(b.dir, "packs", "*", "*.pack"))
	if len(names) != 1 {
		t.Fatalf("packs %v", names)
	}
	return names[0]
}

// flipped flips a byte of the first object in its pack.
func flipped(t *testing.T, b *bench) (name string, data []byte) {
	t.Helper()
	name = packFile(t, b)
	data, err := os.ReadFile(name)
	must(t, err)
	data[16+72+100] ^= 1
	must(t, os.WriteFile(name, data, 0o600))
	return name, data
}

func TestCheckFindsAFlippedByteInAPack(t *testing.T) {
	b, w, ids := stored(t)
	name, data := flipped(t, b)
	p := b.problems(t, false)
	if len(p) != 1 || p[0].Object != ids[0].String() || p[0].Log != w.log().String() || p[0].Mended {
		t.Fatalf("%+v", p)
	}
	// With a whole copy elsewhere, repair mends it.
	data = append(data, data[16:16+72+7000]...)
	data[len(data)-7000+100] ^= 1
	must(t, os.WriteFile(name, data, 0o600))
	if p := b.problems(t, true); len(p) != 1 || !p[0].Mended {
		t.Fatalf("%+v", p)
	}
	if p := b.problems(t, false); len(p) != 0 {
		t.Errorf("after repair: %+v", p)
	}
	data[16+72+100] ^= 1
	must(t, os.WriteFile(name, data, 0o600))
}

// Every change of a record is found, and a service that meets one does not
// start.
func TestCheckFindsChangedAndRemovedRecords(t *testing.T) {
	for name, query := range map[string]string{
		"record removed":     "DELETE FROM records WHERE pos = (SELECT max(pos) - 2 FROM records)",
		"last leaf removed":  "DELETE FROM leaves WHERE pos = (SELECT max(pos) FROM leaves)",
		"log shortened":      "UPDATE logs SET size = size - 1 WHERE kind = 2",
		"time changed":       "UPDATE leaves SET leaf = substr(leaf, 1, 39) || x'01' WHERE pos = (SELECT max(pos) FROM leaves)",
		"signature changed":  "UPDATE records SET head = substr(head, 1, 500) || x'ff' || substr(head, 502) WHERE pos = (SELECT max(pos) FROM records)",
		"operations changed": "UPDATE records SET blob = substr(blob, 1, 20) || x'ffff' || substr(blob, 23) WHERE pos = (SELECT max(pos) FROM records)",
		"operations removed": "UPDATE records SET blob = x'' WHERE pos = (SELECT max(pos) FROM records)",
		"statement changed":  "UPDATE records SET head = substr(head, 1, 3000) || x'ffff' || substr(head, 3003) WHERE pos = (SELECT min(pos) FROM records)",
		"checkpoint changed": "UPDATE logs SET tip = full WHERE kind = 2",
		"object unindexed":   "DELETE FROM objects WHERE entry = 3",
	} {
		t.Run(name, func(t *testing.T) {
			b, _, _ := stored(t)
			copyOf, err := os.ReadFile(filepath.Join(b.dir, databaseName))
			must(t, err)
			edit(t, b, query)
			if p := b.problems(t, false); len(p) == 0 {
				t.Error("nothing found")
			}
			must(t, os.WriteFile(filepath.Join(b.dir, databaseName), copyOf, 0o600))
		})
	}
}

// An object that the index lost comes back as what it was, of its entry: as an
// upload that no entry names gc would drop it one day.
func TestRepairGivesAnUnindexedObjectBackToItsEntry(t *testing.T) {
	b, _, _ := stored(t)
	rows := func() (list []string) {
		t.Helper()
		db, err := meta.Open(filepath.Join(b.dir, databaseName))
		must(t, err)
		defer db.Close()
		logs, err := db.Logs()
		must(t, err)
		for _, l := range logs {
			list = append(list, fmt.Sprintf("%s: %d bytes", l.ID, l.Used))
			must(t, db.Objects(l.Num, func(o meta.Object) error {
				o.Added = 0 // when it was sent is not said anywhere else
				list = append(list, fmt.Sprintf("%s: %+v", l.ID, o))
				return nil
			}))
		}
		return list
	}
	before := rows()
	edit(t, b, "DELETE FROM objects WHERE entry = 3")
	if slices.Equal(before, rows()) {
		t.Fatal("nothing was deleted")
	}
	if p := b.problems(t, true); len(p) == 0 || !p[0].Mended {
		t.Errorf("mended: %+v", p)
	}
	if after := rows(); !slices.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if p := b.problems(t, false); len(p) != 0 {
		t.Errorf("still: %+v", p)
	}
}

// An object of which no whole copy is left is noted as lost: the service says that it
// lacks it, does not give out what is there, and takes it from whoever has it, as what it
// was, of its entry.
func TestALostObjectIsTakenAgain(t *testing.T) {
	b, w, ids := stored(t)
	flipped(t, b)
	if p := b.problems(t, true); len(p) != 1 || p[0].Mended || !strings.Contains(p[0].Message, "send it again") {
		t.Fatalf("%+v", p)
	}
	if p := b.problems(t, true); len(p) != 1 || p[0].Message != known {
		t.Fatalf("again: %+v", p)
	}
	again := func(lacks ...signet.ObjectID) {
		t.Helper()
		b.open()
		w.connect()
		missing, err := w.session.Have(t.Context(), w.region, ids)
		must(t, err)
		if !slices.Equal(missing, lacks) {
			t.Errorf("lacks %v, want %v", missing, lacks)
		}
		for _, id := range ids {
			err := w.session.Get(t.Context(), w.region, []signet.ObjectID{id}, func(got signet.ObjectID, object []byte) error {
				if nameOf(object) != got {
					t.Errorf("gives out other bytes for %s", got)
				}
				return nil
			})
			if gone := slices.Contains(lacks, id); gone != errors.Is(err, signet.ErrNotFound) || !gone && err != nil {
				t.Errorf("%s is gone: %v, and to get it says %v", id, gone, err)
			}
		}
	}
	again(ids[0])
	for range 2 {
		must(t, w.session.Put(t.Context(), w.region, [][]byte{[]byte(strings.Repeat("object ", 1000))}))
	}
	must(t, b.Service.Close())
	again()
	must(t, b.Service.Close())
	if p := b.problems(t, false); len(p) != 0 {
		t.Errorf("in the end: %+v", p)
	}
}

func TestServiceDoesNotServeAChangedLog(t *testing.T) {
	b, _, _ := stored(t)
	copyOf, err := os.ReadFile(filepath.Join(b.dir, databaseName))
	must(t, err)
	edit(t, b, "UPDATE logs SET size = size - 1 WHERE kind = 2")
	if s, err := Open(b.config()); err == nil {
		s.Close()
		t.Error("opened")
	}
	must(t, os.WriteFile(filepath.Join(b.dir, databaseName), copyOf, 0o600))
}
