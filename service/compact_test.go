package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/service/blob"
	"signet/service/meta"
)

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
	if testing.Short() {
		t.Skip("takes some seconds")
	}
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
