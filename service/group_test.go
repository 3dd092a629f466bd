package service

import (
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/service/blob"
	"signet/service/blob/blobtest"
)

// A store that fails, having done its work or not, costs nobody an
// acknowledged record: what was put is asked for again.
func TestFailedStoreLosesNothingAcknowledged(t *testing.T) {
	for _, happens := range []bool{false, true} {
		t.Run(fmt.Sprintf("happens=%v", happens), func(t *testing.T) {
			b := newBench(t)
			w := b.found().newRegion(1)
			f := &blobtest.Faulty{Store: b.uploads.store, Happens: happens}
			b.uploads.store = f
			one, two := []byte("one"), []byte("two")
			must(t, w.session.Put(t.Context(), w.region, [][]byte{one}))
			e1 := w.entry(nameOf(one))

			f.FailPut = 1
			wantIs(t, w.session.Put(t.Context(), w.region, [][]byte{two}), signet.ErrUnavailable)
			f.FailSync = 1
			wantIs(t, w.append(w.log(), e1), signet.ErrUnavailable)
			if missing, err := w.session.Have(t.Context(), w.region, []signet.ObjectID{nameOf(one)}); err != nil || len(missing) != 1 {
				t.Fatalf("after a failed sync: missing %v, %v", missing, err)
			}
			must(t, w.session.Put(t.Context(), w.region, [][]byte{one, two}))
			must(t, w.append(w.log(), e1))
			must(t, w.append(w.log(), w.entry(nameOf(two))))
			b.reopen()
			w.connect()
			if c := w.head(w.log()); c.Size != 3 {
				t.Errorf("size %d, want 3", c.Size)
			}
			if missing, err := w.session.Have(t.Context(), w.region, []signet.ObjectID{nameOf(one), nameOf(two)}); err != nil || len(missing) != 0 {
				t.Errorf("missing %v, %v", missing, err)
			}
		})
	}
}

// A commit that failed leaves memory as the disk is: the same record is
// accepted afterwards, at the same place.
func TestFailedCommitIsTakenBack(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	must(t, w.append(w.log(), w.entry()))
	e := w.entry()
	stop := b.refuseWrites()
	wantIs(t, w.append(w.log(), e), signet.ErrUnavailable)
	stop()
	must(t, b.Ready())
	must(t, w.append(w.log(), e))
	if c := w.head(w.log()); c.Size != 3 {
		t.Errorf("size %d, want 3", c.Size)
	}
}

// A commit that reports failure and did happen is found out: the record is
// there once, and its writer gets the receipt when it asks again.
func TestCommitThatHappenedAllTheSameIsFoundOut(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	e := w.entry()
	o := &offer{log: w.log(), record: e, sent: b.millis(), answer: make(chan answer, 1)}
	b.stop()
	b.done.Wait() // nobody else commits
	b.mu.Lock()
	must(t, b.accept(o))
	b.mu.Unlock()
	touched := map[*history]bool{o.history: false}
	if _, err := b.persist([]*offer{o}, touched); err != nil {
		t.Fatal(err)
	}
	b.undo([]*offer{o}, touched, errors.New("the answer was lost"))
	wantIs(t, o.err, signet.ErrUnavailable)
	again := &offer{log: w.log(), record: e, sent: b.millis(), answer: make(chan answer, 1)}
	next := &offer{log: w.log(), record: w.entry(), sent: b.millis(), answer: make(chan answer, 1)}
	b.commit([]*offer{again, next})
	for i, x := range []*offer{again, next} {
		a := <-x.answer
		must(t, a.err)
		if b.checkReceipt(w.log(), a.receipt); a.receipt.Position != uint64(1+i) {
			t.Errorf("record %d at %d", i, a.receipt.Position)
		}
	}
}

// refuseWrites makes the database refuse new records until stop is called.
func (b *bench) refuseWrites() (stop func()) {
	b.t.Helper()
	exec := func(q string) {
		b.t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(b.dir, databaseName))
		must(b.t, err)
		_, err = db.Exec(q)
		must(b.t, err)
		must(b.t, db.Close())
	}
	exec("CREATE TRIGGER refuse BEFORE INSERT ON leaves BEGIN SELECT raise(ABORT, 'refused'); END")
	return func() { exec("DROP TRIGGER refuse") }
}

func TestManyWritersAreAllAcknowledgedInOrder(t *testing.T) {
	b := newBench(t)
	d := b.found()
	w := d.newRegion(1)
	writers := []*writer{w}
	for range 3 {
		writers = append(writers, w.on(d.add()))
	}
	var wg sync.WaitGroup
	for _, w := range writers {
		wg.Go(func() {
			var last uint64
			for range 25 {
				o := fmt.Appendf(nil, "%s %d", w.id(), last)
				if err := w.session.Put(t.Context(), w.region, [][]byte{o}); err != nil {
					t.Error(err)
				}
				r, err := w.session.Append(t.Context(), w.log(), w.entry(nameOf(o)), b.millis())
				if err != nil {
					t.Error(err)
					return
				}
				b.checkReceipt(w.log(), r)
				if r.Position <= last {
					t.Errorf("position %d after %d", r.Position, last)
				}
				last = r.Position
			}
		})
	}
	wg.Wait()
	b.reopen()
	w.connect()
	if c := w.head(w.log()); c.Size != 101 {
		t.Errorf("size %d, want 101", c.Size)
	}
	if p := b.problems(t, false); len(p) != 0 {
		t.Errorf("%+v", p)
	}
}

// BenchmarkCommit is W10: 64 writers, one operation an entry, each verified
// and durable before the next.
func BenchmarkCommit(b *testing.B) {
	for _, regions := range []int{1, 8} {
		b.Run(fmt.Sprintf("64writers%dregions", regions), func(b *testing.B) {
			x := newBench(b)
			d := x.found()
			var ws []*writer
			for i := range regions {
				ws = append(ws, d.newRegion(byte(i+1)))
			}
			var writers []*writer
			for i := range 64 {
				writers = append(writers, ws[i%regions].on(d.add()))
			}
			per := max(1, b.N/64)
			entries := make([][]signet.Record, 64)
			for i, w := range writers {
				for range per {
					entries[i] = append(entries[i], w.entry())
				}
			}
			b.ResetTimer()
			start := time.Now()
			var wg sync.WaitGroup
			for i, w := range writers {
				wg.Go(func() {
					for _, e := range entries[i] {
						if err := w.append(w.log(), e); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(64*per)/time.Since(start).Seconds(), "entries/s")
		})
	}
}

// BenchmarkCommitAlone is one writer that puts an object, commits an entry that
// names it, and waits: the service's share of the way from disk to disk.
func BenchmarkCommitAlone(b *testing.B) {
	x := newBench(b)
	w := x.found().newRegion(1)
	n := uint64(0)
	for b.Loop() {
		n++
		o := binary.BigEndian.AppendUint64(make([]byte, 10_000), n)
		must(b, w.session.Put(b.Context(), w.region, [][]byte{o}))
		must(b, w.append(w.log(), w.entry(nameOf(o))))
	}
}

// BenchmarkPut is what a device's uploads cost the service: hashing, packs and
// the index, with the syncs that happen meanwhile.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			x := newBench(b)
			x.uploads.max = 1 << 50
			w := x.found().newRegion(1)
			batch := max(1, 2<<20/size)
			const sessions = 4
			objects := make([][][]byte, sessions)
			for i := range objects {
				for range batch {
					o := make([]byte, size)
					rand.Read(o)
					objects[i] = append(objects[i], o)
				}
			}
			b.SetBytes(int64(sessions * batch * size))
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				var wg sync.WaitGroup
				n++
				for i := range sessions {
					wg.Go(func() {
						for _, o := range objects[i] {
							binary.BigEndian.PutUint64(o, n)
						}
						if err := w.session.Put(b.Context(), w.region, objects[i]); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
		})
	}
}

// BenchmarkOpen is what a start costs: every entry is verified again.
func BenchmarkOpen(b *testing.B) {
	const entries = 5000
	x := newBench(b)
	w := x.found().newRegion(1)
	var group []*offer
	for range entries {
		group = append(group, &offer{log: w.log(), record: w.entry(), sent: x.millis(), answer: make(chan answer, 1)})
	}
	for _, o := range group {
		x.offers <- o
	}
	for _, o := range group {
		if a := <-o.answer; a.err != nil {
			b.Fatal(a.err)
		}
	}
	must(b, x.Service.Close())
	for b.Loop() {
		x.open()
		must(b, x.Service.Close())
	}
	b.ReportMetric(entries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	x.open()
}

// A hooked store lets a test act at the moment of a sync.
type hooked struct {
	blob.Store
	before func()
}

func (h *hooked) Sync() ([]blob.Mark, error) {
	h.before()
	return h.Store.Sync()
}

// What was put while packs were being synced is indexed with them: the next
// start does not look for it below the packs' marks.
func TestObjectPutDuringASyncIsNotForgotten(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	one, two := []byte("one"), []byte("two")
	b.uploads.store = &hooked{b.uploads.store, func() {
		if err := w.session.Put(t.Context(), w.region, [][]byte{two}); err != nil {
			t.Error(err)
		}
	}}
	must(t, w.session.Put(t.Context(), w.region, [][]byte{one}))
	must(t, b.uploads.flush(nil))
	for _, o := range [][]byte{one, two} {
		if _, err := b.db.Object(b.logs[w.log()].Num, nameOf(o)); err != nil {
			t.Errorf("%q: %v", o, err)
		}
	}
}
