package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/service/blob"
	"signet/service/meta"
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

// packs lists the packs on disk and their sizes together.
func (b *bench) packs() (n int, size int64) {
	names, err := filepath.Glob(filepath.Join(b.dir, "packs", "*", "*.pack"))
	must(b.t, err)
	for _, name := range names {
		info, err := os.Stat(name)
		must(b.t, err)
		size += info.Size()
	}
	return len(names), size
}

func TestSparsePacksAreCompacted(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(40, 10_000)
	must(t, w.append(w.log(), w.entry(ids...)))
	w.drop(ids[10:20]...)
	before, size := b.packs()
	if f := b.collect(); f.Packs != 0 || f.Left != 10*10_072 {
		t.Errorf("a quarter is dead: %+v", f)
	}
	if n, s := b.packs(); n != before || s != size {
		t.Errorf("packs changed")
	}
	w.drop(ids[20:]...)
	want, err := GCPlan(b.dir, b.clock.now())
	must(t, err)
	s, err := ReadStatus(b.dir, b.clock.now())
	must(t, err)
	got := b.collect()
	if got != want {
		t.Errorf("planned %+v, did %+v", want, got)
	}
	if s.Reclaimable != got.Bytes || s.Dead != 30*10_072 {
		t.Errorf("status says %d reclaimable, %d dead; freed %d", s.Reclaimable, s.Dead, got.Bytes)
	}
	n, after := b.packs()
	if n != 1 || size-after != got.Bytes || got.Copied != 10*10_072 || got.Left != 0 {
		t.Errorf("%d packs, %d bytes less, %+v", n, size-after, got)
	}
	w.wantGet(ids[:10], objects[:10])
	// What is put next goes to the pack that has room, also after a restart.
	for range 2 {
		more, bytes := w.store(2, 5000)
		must(t, w.append(w.log(), w.entry(more...)))
		w.wantGet(more, bytes)
		if n, _ := b.packs(); n != 1 {
			t.Errorf("%d packs", n)
		}
		b.reopen()
		w.connect()
	}
	b.whole()
	// All gone: no pack is left, and no number is given twice.
	w.drop(ids[:10]...)
	all, err := b.db.Packs()
	must(t, err)
	must(t, b.db.Update(func(tx *meta.Tx) error {
		var list []signet.ObjectID
		must(t, b.db.Objects(b.logs[w.log()].Num, func(o meta.Object) error { list = append(list, o.ID); return nil }))
		_, err := tx.Drop(b.logs[w.log()].Num, list)
		return err
	}))
	b.collect()
	if n, _ := b.packs(); n != 0 {
		t.Errorf("%d packs of nothing", n)
	}
	b.reopen()
	w.connect()
	one, _ := w.store(1, 100)
	must(t, b.uploads.flush(nil))
	o, err := b.db.Object(b.logs[w.log()].Num, one[0])
	must(t, err)
	if last := all[len(all)-1].Pack; o.Place.Pack <= last {
		t.Errorf("pack number %d again, %d was given", o.Place.Pack, last)
	}
	if f := b.collect(); f.Packs != 0 {
		t.Errorf("%+v", f)
	}
}

// An object whose bytes are not whole keeps its pack: what is left of it is for
// check to say, and for a device to mend.
func TestDamagedPackStays(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(30, 10_000)
	must(t, w.append(w.log(), w.entry(ids...)))
	w.drop(ids[10:]...)
	o, err := b.db.Object(b.logs[w.log()].Num, ids[3])
	must(t, err)
	name := filepath.Join(b.dir, "packs", "00", fmt.Sprintf("%08x.pack", o.Place.Pack))
	flip := func() {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		one := []byte{0}
		f.ReadAt(one, int64(o.Place.Offset)+500)
		one[0] ^= 1
		f.WriteAt(one, int64(o.Place.Offset)+500)
		must(t, f.Close())
	}
	flip()
	if f := b.collect(); f.Damaged != 1 || f.Packs != 0 || f.Copied != 0 {
		t.Errorf("%+v", f)
	}
	w.wantGet(ids[:3], objects[:3])
	flip()
	if f := b.collect(); f.Damaged != 0 || f.Packs != 1 {
		t.Errorf("%+v", f)
	}
	w.wantGet(ids[:10], objects[:10])
	b.whole()
	// An index that points into the middle of a record keeps the pack too.
	num := b.logs[w.log()].Num
	if o, err = b.db.Object(num, ids[0]); err != nil {
		t.Fatal(err)
	}
	wrong := o.Place
	wrong.Offset++
	move := func(p blob.Place) {
		must(t, b.db.Update(func(tx *meta.Tx) error { return tx.Move([]meta.Moved{{Log: num, ID: ids[0], Place: p}}) }))
	}
	waste, _ := w.store(20, 10_000)
	must(t, w.append(w.log(), w.entry(waste...)))
	w.drop(waste...)
	move(wrong)
	if f := b.collect(); f.Packs != 0 {
		t.Errorf("%+v", f)
	}
	move(o.Place)
	w.wantGet(ids[:10], objects[:10])
	b.whole()
}

// A pack is not removed while somebody reads packs by an older index.
func TestPacksStayWhileTheyAreHeld(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(30, 10_000)
	must(t, w.append(w.log(), w.entry(ids...)))
	release, err := blob.Hold(t.Context(), b.dir)
	must(t, err)
	num := b.logs[w.log()].Num
	old, err := b.db.Object(num, ids[0])
	must(t, err)
	w.drop(ids[10:]...)
	f := b.collect()
	if f.Waiting != 1 || f.Packs != 0 {
		t.Errorf("%+v", f)
	}
	if got, err := b.store.Get(old.Place, nil); err != nil || !bytes.Equal(got, objects[0]) {
		t.Errorf("held pack: %v", err)
	}
	release()
	if f := b.collect(); f.Waiting != 0 || f.Packs != 1 {
		t.Errorf("%+v", f)
	}
	w.wantGet(ids[:10], objects[:10])
}

// Everything can be read, by many at once, while packs are compacted under them.
func TestReadersGoOnWhilePacksAreCompacted(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(60, 4000)
	must(t, w.append(w.log(), w.entry(ids...)))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				from := n * 7 % 50
				got := 0
				err := w.session.Get(ctx, w.region, ids[from:from+10], func(id signet.ObjectID, o []byte) error {
					if nameOf(o) != id {
						t.Errorf("%s has other bytes", id)
					}
					got++
					return nil
				})
				if ctx.Err() == nil && (err != nil || got != 10) {
					t.Errorf("%d of 10, %v", got, err)
					return
				}
			}
		})
	}
	for range rounds {
		waste, _ := w.store(40, 20_000)
		must(t, w.append(w.log(), w.entry(waste...)))
		w.drop(waste...)
		if f := b.collect(); f.Packs == 0 {
			t.Errorf("nothing was compacted: %+v", f)
		}
	}
	stop()
	wg.Wait()
	w.wantGet(ids, objects)
	b.whole()
}

// What was put and is not indexed yet is not lost with the pack in which it lies.
func TestPendingObjectsSurviveACompaction(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	waste, _ := w.store(40, 10_000)
	must(t, w.append(w.log(), w.entry(waste...)))
	w.drop(waste...)
	ids, objects := w.store(5, 3000)
	if f, err := b.gc.collect(t.Context(), budget{}, nil); err != nil || f.Packs != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	w.wantGet(ids, objects)
	must(t, w.append(w.log(), w.entry(ids...)))
	b.reopen()
	w.connect()
	w.wantGet(ids, objects)
	b.whole()
}

// Two devices put, commit and drop while one round of gc follows the other.
func TestWritersGoOnWhilePacksAreCompacted(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	b := newBench(t)
	w := b.found().newRegion(1)
	done := make(chan bool)
	var wg sync.WaitGroup
	for _, w := range []*writer{w, w.on(w.add())} {
		wg.Go(func() {
			var kept []signet.ObjectID
			var bytes [][]byte
			for i := range rounds {
				ids, objects := w.store(12, 8000)
				if err := w.append(w.log(), w.entry(ids...)); err != nil {
					t.Error(err)
					return
				}
				_, err := w.b.Service.offer(context.Background(), &offer{log: w.log(), record: w.entry(), sent: w.b.millis(), drops: ids[1:]})
				if err != nil {
					t.Error(err)
					return
				}
				kept, bytes = append(kept, ids[0]), append(bytes, objects[0])
				w.wantGet(kept[i/2:], bytes[i/2:])
			}
			w.wantGet(kept, bytes)
		})
	}
	go func() { wg.Wait(); close(done) }()
	var all Freed
	for busy := true; busy; {
		f, err := b.gc.collect(t.Context(), budget{}, nil)
		must(t, err)
		all.add(f)
		select {
		case <-done:
			busy = false
		default:
		}
	}
	if b.collect(); all.Packs == 0 {
		t.Error("nothing was compacted meanwhile")
	}
	t.Logf("%+v", all)
	if wrong, err := b.db.Miscounts(); err != nil || len(wrong) > 0 {
		t.Errorf("%+v, %v", wrong, err)
	}
}

// Each backup that is taken while gc works is whole, and has no pack too many.
func TestBackupsAreWholeWhileGCWorks(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(20, 4000)
	must(t, w.append(w.log(), w.entry(ids...)))
	must(t, os.WriteFile(filepath.Join(b.dir, "key"), []byte("key"), 0o600))
	to := t.TempDir()
	live := map[string]bool{}
	for _, id := range ids[:10] {
		live[id.String()] = true
	}
	back := func() error {
		if _, err := Backup(t.Context(), BackupConfig{Data: b.dir, To: to, Files: []string{"key"}, Now: time.Now()}); err != nil {
			return err
		}
		m, err := readBackup(filepath.Join(to, backupFile))
		if err != nil {
			return err
		}
		db, err := meta.OpenCopy(filepath.Join(to, m.Database))
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = checkCopy(t.Context(), db, to, b.key.Public(), func(p Problem) {
			if p.Message != unindexed || live[p.Object] { // else dropped, by an entry that does not say so
				t.Errorf("backup: %+v", p)
			}
		})
		return err
	}
	done := make(chan error)
	go func() {
		for range 4 {
			if err := back(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for busy := true; busy; {
		waste, _ := w.store(20, 20_000)
		must(t, w.append(w.log(), w.entry(waste...)))
		w.drop(waste...)
		b.collect()
		select {
		case err := <-done:
			must(t, err)
			busy = false
		default:
		}
	}
	w.drop(ids[10:]...)
	b.collect()
	must(t, back())
	m, err := readBackup(filepath.Join(to, backupFile))
	must(t, err)
	names, err := filepath.Glob(filepath.Join(to, "packs", "*", "*.pack"))
	must(t, err)
	if len(names) != len(m.Packs) {
		t.Errorf("%d packs in the backup, it names %d", len(names), len(m.Packs))
	}
	// What gc takes after a backup comes back with it.
	w.drop(ids[5:10]...)
	waste, _ := w.store(20, 20_000)
	must(t, w.append(w.log(), w.entry(waste...)))
	w.drop(waste...)
	b.collect()
	must(t, b.Service.Close())
	restored := t.TempDir()
	_, err = Restore(t.Context(), to, restored, true, b.clock.now())
	must(t, err)
	b.dir = restored
	b.open()
	w.connect()
	w.wantGet(ids[:10], objects[:10])
	b.whole()
}

// The command reaches the service through the database.
func TestAServiceThatRunsAnswersTheCommand(t *testing.T) {
	b := newBench(t)
	must(t, b.Service.Close())
	c := b.config()
	c.Ask = time.Millisecond
	var err error
	b.Service, err = Open(c)
	must(t, err)
	w := b.found().newRegion(1)
	ids, _ := w.store(30, 10_000)
	must(t, w.append(w.log(), w.entry(ids...)))
	w.drop(ids[5:]...)
	first, err := AskGC(b.dir)
	must(t, err)
	second, err := AskGC(b.dir) // waits for its turn
	must(t, err)
	var total Freed
	for _, r := range []*GCRequest{first, second} {
		for {
			f, done, err := r.Answer()
			must(t, err)
			if done {
				total.add(f)
				break
			}
		}
		must(t, r.Close())
	}
	if total.Packs != 1 {
		t.Errorf("%+v", total)
	}
	if _, err := b.db.Setting(settingGCAsk); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("a question is left: %v", err)
	}
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
