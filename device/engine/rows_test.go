package engine

import (
	"bytes"
	"path/filepath"
	"testing"

	"signet"
)

// What a query gave stays as it was when the next row is read, and after the end: the
// driver's bytes are handed on as they are.
func TestRecordsThatWereReadStay(t *testing.T) {
	s, err := OpenStore(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log := signet.Journal(signet.RegionID{1})
	var want []signet.Record
	for n := range 50 {
		part := func(k int) []byte { return bytes.Repeat([]byte{byte(3*n + k)}, 100+(n%7)*3000*k) }
		want = append(want, signet.Record{Leaf: part(0), Head: part(1), Blob: part(2)})
	}
	if err := s.storeHead(log, []byte("head"), 0, want); err != nil {
		t.Fatal(err)
	}
	var got []signet.Record
	for range 3 {
		if err := s.records(log, 0, func(_ uint64, r signet.Record) error { got = append(got, r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for n, r := range got {
		w := want[n%len(want)]
		if !bytes.Equal(r.Leaf, w.Leaf) || !bytes.Equal(r.Head, w.Head) || !bytes.Equal(r.Blob, w.Blob) {
			t.Fatalf("record %d of %d is another one now", n, len(got))
		}
	}
	if len(got) != 3*len(want) {
		t.Errorf("%d records", len(got))
	}
}

// A row is read before anything was written, on the writer's connection once there is
// one, and while somebody writes: then as it was before that.
func TestRowIsReadWhoeverWrites(t *testing.T) {
	s, err := OpenStore(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	note := func(want string) {
		t.Helper()
		if b, err := s.Note("k"); err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
	note("")
	if s.writer != nil {
		t.Error("reading made a writer")
	}
	if err := s.SetNote("k", []byte("one")); err != nil {
		t.Fatal(err)
	}
	note("one")
	if len(s.reads) != 1 {
		t.Errorf("%d statements of other connections", len(s.reads))
	}
	err = s.write(func(b *batch) {
		b.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", "k", []byte("two"))
		note("one")
	})
	if err != nil {
		t.Fatal(err)
	}
	note("two")
}
