package service

import (
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/service/meta"
)

// sign signs an entry that follows all that is there.
func (w *writer) sign(d journal.Draft) (signet.Record, signet.Hash) {
	w.b.t.Helper()
	d.Org, d.Region, d.Ring, d.Device, d.Generation = w.b.org(), w.region, w.ring, w.id(), w.gen
	d.Authority, d.Seen, d.Dir = w.authority, w.head(w.log()), w.head(signet.Directory(w.b.org()))
	if !d.Type.Authority() {
		d.Own = w.own
	}
	r, hash, err := d.Sign(w.key)
	must(w.b.t, err)
	if d.Type.Authority() {
		w.authority = hash
	} else {
		w.own = hash
	}
	must(w.b.t, w.append(w.log(), r))
	return r, hash
}

// horizon appends a point, a snapshot of it, and a horizon there.
func (w *writer) horizon(keep ...journal.Stretch) (at uint64) {
	w.b.t.Helper()
	w.sign(journal.Draft{Header: journal.Header{Type: journal.Content}})
	at = w.b.logs[w.log()].Size
	_, of := w.sign(journal.Draft{Header: journal.Header{Type: journal.Snapshot, DigestAt: at, Digest: signet.Hash{7}, Count: 1, Root: signet.Hash{1}}, Sealed: []byte("pages")})
	l := journal.Limit{Snapshot: of, Days: journal.DefaultGrace, Keep: keep}
	w.sign(journal.Draft{Header: journal.Header{Type: journal.Limiting}, Body: l.Append(nil)})
	w.seen = nil
	return at
}

// shorts lists the entries of which a device gets no operations, and checks
// that it gets all else.
func (w *writer) shorts() (list []uint64) {
	w.b.t.Helper()
	j := journal.NewState(w.region, journal.Directory{State: w.b.ring, Tree: w.b.tree})
	for i, r := range w.remember(w.log()).records {
		if journal.Dropped(r) {
			list = append(list, uint64(i))
		}
		if _, err := journal.ObjectsOf(r.Head, r.Blob); err != nil {
			w.b.t.Errorf("objects of entry %d: %v", i, err)
		}
		leaf, err := journal.ParseLeaf(r.Leaf)
		must(w.b.t, err)
		_, reason, err := j.Apply(leaf, r.Head, r.Blob)
		if reason != nil || err != nil {
			w.b.t.Errorf("entry %d: %v, %v", i, reason, err)
		}
	}
	return list
}

func TestOperationsBehindAHorizonGoAfterItsGrace(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(1, 100)
	must(t, w.append(w.log(), w.entry(ids...)))
	for range 4 {
		must(t, w.append(w.log(), w.entry()))
	}
	at := w.horizon(journal.Stretch{First: 2, End: 3})
	must(t, w.append(w.log(), w.entry()))
	whole := w.remember(w.log()).records
	before := w.usage().Region
	b.clock.advance(30 * day)
	b.collect()
	if got := w.shorts(); got != nil {
		t.Errorf("gone within a day after the grace: %d", got)
	}
	b.clock.advance(day + 1)
	w.connect() // a session does not last that long
	if f, err := GCPlan(b.dir, b.clock.now()); err != nil || f.Entries != 4 {
		t.Errorf("planned: %+v, %v", f, err)
	}
	f := b.collect()
	want := []uint64{1, 3, 4, 5} // not the genesis, what is kept, and the point, which has none
	if got := w.shorts(); !slices.Equal(got, want) || f.Entries != 4 || at != 7 {
		t.Errorf("gone: %d of %d, %+v", got, at, f)
	}
	if after := w.usage().Region; after != before-f.EntryBytes || f.EntryBytes < 800 {
		t.Errorf("%d bytes before, %d after, %d freed", before, after, f.EntryBytes)
	}
	for i, r := range w.remember(w.log()).records {
		if !slices.Contains(want, uint64(i)) && string(r.Blob) != string(whole[i].Blob) || string(r.Head) != string(whole[i].Head) {
			t.Errorf("entry %d is another", i)
		}
	}
	w.wantGet(ids, objects) // its entry names it as before
	b.whole()
	if f := b.collect(); f.Entries != 0 {
		t.Errorf("again: %+v", f)
	}
	b.reopen()
	w.connect()
	if got := w.shorts(); !slices.Equal(got, want) {
		t.Errorf("after a restart: %d", got)
	}
	must(t, w.append(w.log(), w.entry()))
	b.whole()
}

func TestGCWithoutAServiceDropsBehindAHorizon(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	for range 3 {
		must(t, w.append(w.log(), w.entry()))
	}
	w.horizon()
	b.clock.advance(32 * day)
	must(t, b.Service.Close())
	f, err := GC(t.Context(), b.dir, b.clock.now, nil)
	b.open()
	w.connect()
	if got := w.shorts(); err != nil || f.Entries != 3 || len(got) != 3 {
		t.Errorf("%+v, %v; gone %d", f, err, got)
	}
	b.whole()
}

// What a horizon does not let go is not gone: check says so.
func TestCheckFindsOperationsThatNoHorizonLetsGo(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	for range 3 {
		must(t, w.append(w.log(), w.entry()))
	}
	w.horizon(journal.Stretch{First: 2, End: 3})
	num := b.logs[w.log()].Num
	for at := uint64(1); at < 3; at++ {
		blob, err := b.db.Blob(num, at)
		must(t, err)
		short, ok := journal.Drop(w.remember(w.log()).records[at].Head, blob)
		if !ok {
			t.Fatal("nothing to drop")
		}
		must(t, b.db.Update(func(tx *meta.Tx) error { return tx.Shorten(num, at, short, int64(len(blob)-len(short))) }))
	}
	p := b.problems(t, false)
	if len(p) != 1 || !strings.Contains(p[0].Message, "record 2: its operations are gone") {
		t.Errorf("%+v", p)
	}
}

// Killed at any step of a round, the rest goes in the next one, and what is charged
// is what is there.
func TestKilledDroppingGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	b := newBench(t)
	w := b.found().newRegion(1)
	for range 2*3 + 2 {
		must(t, w.append(w.log(), w.entry()))
	}
	at := w.horizon()
	b.clock.advance(32 * day)
	must(t, b.Service.Close())
	origin := b.dir
	for n := 1; n < 10; n++ {
		step := b.killedGC(origin, n)
		b.open()
		w.connect()
		if got := uint64(len(w.shorts())); step == "shortened" && got != min(uint64(n*3), at-2) {
			t.Errorf("%d %s: %d are gone", n, step, got)
		}
		b.whole()
		b.collect()
		if got := uint64(len(w.shorts())); got != at-2 {
			t.Errorf("%d %s: then %d are gone", n, step, got)
		}
		b.whole()
		if step == "through" || step == "" || t.Failed() {
			if n < 3 {
				t.Errorf("only %d steps, the last %q", n, step)
			}
			return
		}
		must(t, b.Service.Close())
	}
}

// A restored service does not take entries without operations from who began at a
// horizon: it waits for a device that has them.
func TestARestoredServiceWaitsForOperations(t *testing.T) {
	l := lose(t)
	l.directoryDone()
	short := *l.journal
	short.records = slices.Clone(short.records)
	for i, r := range short.records {
		if blob, ok := journal.Drop(r.Head, r.Blob); ok {
			short.records[i].Blob = blob
		}
	}
	if _, _, err := l.w.session.Reoffer(t.Context(), short.part(t, l.base, uint64(len(short.records)-1), true)); err == nil {
		t.Fatal("entries without operations are taken")
	} else {
		wantKind(t, err, "recovering")
	}
	_, _, err := l.w.session.Reoffer(t.Context(), l.journal.part(t, l.base, uint64(len(short.records)-1), true))
	must(t, err)
}
