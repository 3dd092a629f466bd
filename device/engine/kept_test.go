package engine

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"signet"
)

// held is what is kept of a region.
func held(t *testing.T, k *Kept, region signet.RegionID) map[signet.ObjectID][]byte {
	t.Helper()
	all := map[signet.ObjectID][]byte{}
	err := k.each(region, func(signet.ObjectID) bool { return true }, func(id signet.ObjectID, object []byte) error {
		all[id] = object
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func object(n, size int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, size/2) }

func TestKeptObjectsOutliveRunsAndTornEnds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	region, other := signet.RegionID{1}, signet.RegionID{2}
	for run := range 40 { // more runs than files
		k := OpenKept(dir, 1<<20, time.Now)
		k.keep(region, [][]byte{object(run, 1000)})
		k.keep(other, [][]byte{object(run, 500)})
		k.Close()
		files := k.files()
		if len(files) > 2 {
			t.Fatalf("run %d: %d files", run, len(files))
		}
		f, err := os.OpenFile(files[len(files)-1], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(append(region[:], "a record that a kill cut off"...))
		f.Close()
	}
	k := OpenKept(dir, 1<<20, time.Now)
	all := held(t, k, region)
	if len(all) != 40 {
		t.Errorf("%d objects are kept, want 40", len(all))
	}
	for id, b := range all {
		if sha256.Sum256(b) != id || len(b) != 1000 {
			t.Errorf("%s has %d bytes", id, len(b))
		}
	}
	n := 0
	if err := k.ids(other, func(signet.ObjectID) error { n++; return nil }); err != nil || n != 40 {
		t.Errorf("of the other region %d, %v", n, err)
	}
}

func TestKeptObjectsAreTheNewestAndNotTooMany(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	now := time.Now()
	k := OpenKept(dir, 160_000, func() time.Time { return now })
	for n := range 500 {
		k.keep(signet.RegionID{1}, [][]byte{object(n, 1000)})
	}
	k.Close()
	all := held(t, k, signet.RegionID{1})
	if len(all) < 140 || len(all) > 180 {
		t.Errorf("%d objects are kept", len(all))
	}
	for n := 400; n < 500; n++ {
		if all[sha256.Sum256(object(n, 1000))] == nil {
			t.Fatalf("object %d is gone", n)
		}
	}
	now = now.Add(31 * 24 * time.Hour)
	if old := OpenKept(dir, 160_000, func() time.Time { return now }); len(held(t, old, signet.RegionID{1})) != 0 {
		t.Error("objects of last month are kept")
	}
}

func TestKeptObjectOfOtherBytesIsNotGiven(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	k := OpenKept(dir, 1<<20, time.Now)
	k.keep(signet.RegionID{1}, [][]byte{object(1, 100), object(2, 100)})
	k.Close()
	file := k.files()[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(keptMagic)+keptHeader] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if all := held(t, k, signet.RegionID{1}); len(all) != 1 || all[sha256.Sum256(object(2, 100))] == nil {
		t.Errorf("%d objects", len(all))
	}
}

func TestKeepingThatFailsStopsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k := OpenKept(filepath.Join(file, "kept"), 1<<20, time.Now)
	k.keep(signet.RegionID{1}, [][]byte{object(1, 100)})
	k.Close()
	var none *Kept
	none.keep(signet.RegionID{1}, [][]byte{object(1, 100)})
	none.Close()
	if len(held(t, none, signet.RegionID{1})) != 0 {
		t.Error("nothing keeps something")
	}
}

func TestOneFilmDoesNotTakeThePlaceOfAllDocuments(t *testing.T) {
	k := OpenKept(t.TempDir(), 1<<20, time.Now)
	defer k.Close()
	document := []byte("a document's object")
	k.keep(signet.RegionID{1}, [][]byte{document})
	for range 40 {
		k.keep(signet.RegionID{1}, [][]byte{make([]byte, keptLargest+1), make([]byte, keptLargest+1)})
	}
	if h := held(t, k, signet.RegionID{1}); len(h) != 1 {
		t.Errorf("%d objects are kept", len(h))
	}
}
