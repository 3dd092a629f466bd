package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"signet"
	"signet/transport"
)

const day = 24 * time.Hour

// collect does a round of gc inside the service, as of a time when all that was put
// is indexed: the clock of the tests runs ahead.
func (b *bench) collect() Freed {
	b.t.Helper()
	must(b.t, b.uploads.flush(nil))
	f, err := b.gc.collect(b.t.Context(), budget{}, nil)
	must(b.t, err)
	return f
}

// store puts random objects of a size.
func (w *writer) store(n, size int) (ids []signet.ObjectID, objects [][]byte) {
	w.b.t.Helper()
	for range n {
		o := make([]byte, size)
		rand.Read(o)
		ids, objects = append(ids, nameOf(o)), append(objects, o)
	}
	must(w.b.t, w.session.Put(context.Background(), w.region, objects))
	return ids, objects
}

// drop appends an entry with which objects are gone, as a collect will.
func (w *writer) drop(ids ...signet.ObjectID) {
	w.b.t.Helper()
	_, err := w.b.Service.offer(context.Background(), &offer{log: w.log(), record: w.entry(), sent: w.b.millis(), drops: ids})
	must(w.b.t, err)
	if w.b.gone == nil {
		w.b.gone = map[signet.ObjectID]bool{}
	}
	for _, id := range ids {
		w.b.gone[id] = true
	}
}

// wantHave checks which objects are there, without renewing any.
func (w *writer) wantHave(there bool, ids ...signet.ObjectID) {
	w.b.t.Helper()
	for _, id := range ids {
		got, err := w.b.uploads.has(w.b.logs[w.log()].Num, id)
		must(w.b.t, err)
		if got != there {
			w.b.t.Errorf("%s is there: %v, want %v", id, got, there)
		}
	}
}

// wantGet fetches objects and compares them.
func (w *writer) wantGet(ids []signet.ObjectID, objects [][]byte) {
	w.b.t.Helper()
	got := map[signet.ObjectID][]byte{}
	must(w.b.t, w.session.Get(context.Background(), w.region, ids, func(id signet.ObjectID, o []byte) error {
		got[id] = bytes.Clone(o)
		return nil
	}))
	for i, id := range ids {
		if !bytes.Equal(got[id], objects[i]) {
			w.b.t.Errorf("%s differs from what was put", id)
		}
	}
}

// whole checks all data. Of what was dropped check says that an entry names it:
// the entries of these tests do not say that they drop it.
func (b *bench) whole() {
	b.t.Helper()
	for _, p := range b.problems(b.t.(*testing.T), false) {
		if id, err := signet.ParseObjectID(p.Object); err != nil || !b.gone[id] {
			b.t.Errorf("%+v", p)
		}
	}
	b.wantCharged()
}

func TestDroppedObjectsAreGoneAndCanComeAgain(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(4, 1000)
	must(t, w.append(w.log(), w.entry(ids...)))
	w.drop(ids[0], ids[1], signet.ObjectID{9}) // one that never was
	w.wantHave(false, ids[:2]...)
	w.wantGet(ids[2:], objects[2:])
	if missing, err := w.session.Have(t.Context(), w.region, ids); err != nil || len(missing) != 2 {
		t.Errorf("have: missing %v, %v", missing, err)
	}
	err := w.session.Get(t.Context(), w.region, ids[:1], func(signet.ObjectID, []byte) error { return nil })
	wantIs(t, err, signet.ErrNotFound)
	own := w.own
	if e := wantKind(t, w.append(w.log(), w.entry(ids[0])), transport.KindMissing); len(e.Missing) != 1 {
		t.Errorf("missing %v", e.Missing)
	}
	w.own = own
	b.reopen()
	w.connect()
	w.wantHave(false, ids[:2]...)
	must(t, w.session.Put(t.Context(), w.region, objects[:1]))
	w.wantGet(ids[:1], objects[:1])
	must(t, w.append(w.log(), w.entry(ids[0])))
	b.collect()
	w.wantGet([]signet.ObjectID{ids[0], ids[2], ids[3]}, [][]byte{objects[0], objects[2], objects[3]})
}

// What is dropped with one entry is missing for the next of the same group, and
// what was just put and not indexed yet goes too.
func TestAnEntryOfTheSameGroupDoesNotFindWhatIsDropped(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	x := w.on(w.add())
	ids, _ := w.store(2, 100)
	must(t, w.append(w.log(), w.entry(ids[0])))
	b.stop()
	b.done.Wait() // nobody else commits, or flushes
	fresh, _ := w.store(1, 100)
	ids = append(ids, fresh...)
	new := func(w *writer, drops []signet.ObjectID, names ...signet.ObjectID) *offer {
		return &offer{log: w.log(), record: w.entry(names...), sent: b.millis(), drops: drops, answer: make(chan answer, 1)}
	}
	group := []*offer{new(w, ids), new(x, nil, ids[0]), new(w, nil)}
	b.commit(group)
	for i, o := range group {
		if a := <-o.answer; i == 1 {
			if e := wantKind(t, a.err, transport.KindMissing); len(e.Missing) != 1 || e.Missing[0] != ids[0] {
				t.Errorf("missing %v", e.Missing)
			}
		} else {
			must(t, a.err)
		}
	}
	w.wantHave(false, ids...)
	must(t, b.uploads.flush(nil))
	w.wantHave(false, ids...)
	if len(b.uploads.usage) > 0 && b.uploads.usage[1] != 0 {
		t.Errorf("charged for what is gone: %v", b.uploads.usage)
	}
}

func TestDropThatIsNotCommittedLeavesTheObjects(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(1, 100)
	must(t, w.append(w.log(), w.entry(ids...)))
	stop := b.refuseWrites()
	_, err := b.Service.offer(t.Context(), &offer{log: w.log(), record: w.entry(), sent: b.millis(), drops: ids})
	wantIs(t, err, signet.ErrUnavailable)
	stop()
	w.wantHave(true, ids...)
	w.wantGet(ids, objects)
}

// What no entry names goes after 30 days, unless somebody puts it again, a writer
// asks for it, or an entry names it that lacks others.
func TestUnnamedObjectsGoAfterThirtyDays(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(6, 2000)
	named, idle, again, asked, lacking, late := ids[0], ids[1], ids[2], ids[3], ids[4], ids[5]
	must(t, w.append(w.log(), w.entry(named)))
	must(t, b.uploads.flush(nil))
	b.clock.advance(29 * day)
	if f := b.collect(); f.Objects != 0 {
		t.Fatalf("after 29 days: %+v", f)
	}
	must(t, w.session.Put(t.Context(), w.region, objects[2:3]))
	if missing, err := w.session.Have(t.Context(), w.region, []signet.ObjectID{asked}); err != nil || len(missing) != 0 {
		t.Fatalf("missing %v, %v", missing, err)
	}
	own := w.own
	wantKind(t, w.append(w.log(), w.entry(lacking, signet.ObjectID{9})), transport.KindMissing)
	w.own = own
	b.clock.advance(2 * day)
	if f := b.collect(); f.Objects != 2 || f.ObjectBytes != 4000 {
		t.Errorf("after 31 days: %+v", f)
	}
	w.wantHave(false, idle, late)
	w.wantHave(true, named, again, asked, lacking)
	// Who was told yes and comes too late is told what is missing.
	if e := wantKind(t, w.append(w.log(), w.entry(late, asked)), transport.KindMissing); len(e.Missing) != 1 || e.Missing[0] != late {
		t.Errorf("missing %v", e.Missing)
	}
	w.own = own
	must(t, w.session.Put(t.Context(), w.region, objects[5:]))
	must(t, w.append(w.log(), w.entry(late, asked)))
	b.clock.advance(31 * day)
	if f := b.collect(); f.Objects != 2 {
		t.Errorf("after 62 days: %+v", f)
	}
	w.wantHave(true, named, late, asked)
	if n := b.uploads.usage; len(n) > 1 || len(n) == 1 && n[1] != 0 {
		t.Errorf("charged for what is gone or named: %v", n)
	}
	b.whole()
}

// Who asks again and again does not make the service write each time.
func TestAnObjectIsRenewedOnceADayAtMost(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, _ := w.store(1, 100)
	must(t, b.uploads.flush(nil))
	num := b.logs[w.log()].Num
	b.clock.advance(12 * time.Hour)
	if _, err := b.uploads.stay(num, ids, b.millis()); err != nil {
		t.Fatal(err)
	}
	o, err := b.db.Object(num, ids[0])
	must(t, err)
	if age := b.millis() - o.Added; age != (12 * time.Hour).Milliseconds() {
		t.Errorf("renewed on its first day: age %d ms", age)
	}
}

// A restored service waits for entries: what they name may be older than 30 days.
func TestARecoveringServiceKeepsUnnamedObjects(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, _ := w.store(1, 100)
	b.clock.advance(40 * day)
	must(t, b.Service.Close())
	_, err := MarkRestored(b.dir, b.clock.now())
	must(t, err)
	if f, err := GCPlan(b.dir, b.clock.now()); err != nil || f.Objects != 0 {
		t.Errorf("plan %+v, %v", f, err)
	}
	if f, err := GC(t.Context(), b.dir, b.clock.now, nil); err != nil || f.Objects != 0 {
		t.Errorf("gc %+v, %v", f, err)
	}
	b.open()
	if f := b.collect(); f.Objects != 0 {
		t.Errorf("%+v", f)
	}
	w.connect()
	w.wantHave(true, ids...)
}

// A commit races with the round in which its objects run out: it finds them all, or
// is told which are gone, and never fails otherwise.
func TestACommitMeetsARoundOfGC(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	took, refused := 0, 0
	for range 40 {
		ids, objects := w.store(50, 200)
		must(t, b.uploads.flush(nil))
		b.clock.advance(31 * day)
		done := make(chan bool)
		go func() { b.collect(); close(done) }()
		own := w.own
		err := w.append(w.log(), w.entry(ids...))
		<-done
		if err == nil {
			took++
			w.wantGet(ids, objects)
			continue
		}
		refused++
		w.own = own
		if e := wantKind(t, err, transport.KindMissing); len(e.Missing) == 0 {
			t.Error("refused, and nothing is missing")
		}
	}
	t.Logf("%d taken, %d refused", took, refused)
	b.whole()
}

// Random puts, entries, drops, days, rounds of gc, backups and restarts against a
// simple model.
func TestGCAgreesWithAModel(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 80
	}
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	r := mathrand.New(mathrand.NewPCG(seed, 0))
	b := newBench(t)
	w := b.found().newRegion(1)
	type object struct {
		bytes []byte
		named bool
		added int64
	}
	model := map[signet.ObjectID]*object{}
	gone := map[signet.ObjectID]bool{}
	pick := func(n int, want func(*object) bool) (ids []signet.ObjectID) {
		for id, o := range model {
			if want(o) && len(ids) < n {
				ids = append(ids, id)
			}
		}
		return ids
	}
	verify := func() {
		t.Helper()
		var ids []signet.ObjectID
		var objects [][]byte
		for id, o := range model {
			ids, objects = append(ids, id), append(objects, o.bytes)
		}
		w.wantHave(true, ids...)
		w.wantGet(ids, objects)
		for id := range gone {
			w.wantHave(false, id)
		}
	}
	for step := range steps {
		switch n := r.IntN(20); {
		case n < 7:
			ids, objects := w.store(1+r.IntN(10), 1+r.IntN(30_000))
			for i, id := range ids {
				model[id] = &object{bytes: objects[i], added: b.millis()}
			}
		case n < 11:
			ids := pick(r.IntN(12), func(o *object) bool { return !o.named })
			must(t, w.append(w.log(), w.entry(ids...)))
			for _, id := range ids {
				model[id].named = true
			}
		case n < 14:
			ids := pick(r.IntN(20), func(o *object) bool { return o.named })
			w.drop(ids...)
			for _, id := range ids {
				delete(model, id)
				gone[id] = true
			}
		case n < 15:
			b.clock.advance(time.Duration(r.IntN(20*24)) * time.Hour)
		case n < 18:
			b.collect()
			for id, o := range model {
				if !o.named && b.millis()-o.added > unnamedTime.Milliseconds() {
					delete(model, id)
					gone[id] = true
				}
			}
			verify()
		case n < 19:
			b.reopen()
			w.connect()
		default: // again, of what is gone
			for id := range gone {
				if r.IntN(3) == 0 {
					o := []byte(fmt.Sprint(id, step))
					must(t, w.session.Put(t.Context(), w.region, [][]byte{o}))
					model[nameOf(o)] = &object{bytes: o, added: b.millis()}
				}
				break
			}
		}
		if wrong, err := b.db.Miscounts(); err != nil || len(wrong) > 0 {
			t.Fatalf("step %d: %+v, %v", step, wrong, err)
		}
	}
	b.collect()
	for id, o := range model {
		if !o.named && b.millis()-o.added > unnamedTime.Milliseconds() {
			delete(model, id)
			gone[id] = true
		}
	}
	verify()
	var live, size int64
	for _, o := range model {
		live += 72 + int64(len(o.bytes))
	}
	n, size := b.packs()
	t.Logf("%d objects, %d gone, %d bytes live, %d packs of %d bytes", len(model), len(gone), live, n, size)
	if size > 2*live+int64(n)*(minDead+16)+2*minDead {
		t.Errorf("%d bytes on disk for %d that are live", size, live)
	}
	b.reopen()
	w.connect()
	verify()
	b.whole()
}
