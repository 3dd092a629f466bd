package service

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"signet"
	"signet/internal/durable"
	"signet/service/blob"
	"signet/service/meta"
)

// fill makes data with n objects of a size, in a region; the ith is named by an
// entry unless i%10 is 0.
func fill(b *testing.B, dir string, n, size int) {
	b.Helper()
	db, err := meta.Open(filepath.Join(dir, databaseName))
	must(b, err)
	defer db.Close()
	store, err := blob.Open(dir, nil, nil)
	must(b, err)
	defer store.Close()
	region := signet.RegionID{1}
	var log meta.LogNum
	must(b, db.Update(func(tx *meta.Tx) (err error) {
		log, err = tx.NewLog(signet.Journal(region))
		return err
	}))
	raw := make([]byte, size)
	rand.Read(raw)
	for i := 0; i < n; {
		var objects []blob.Object
		for ; len(objects) < 5000 && i < n; i++ {
			o := append([]byte(nil), raw...)
			binary.BigEndian.PutUint64(o, uint64(i))
			objects = append(objects, blob.Name(o))
		}
		places, err := store.Put(region, objects)
		must(b, err)
		marks, err := store.Sync()
		must(b, err)
		must(b, db.Update(func(tx *meta.Tx) error {
			var rows []meta.Object
			for j, o := range objects {
				rows = append(rows, meta.Object{ID: o.ID, Place: places[j], Added: 1})
			}
			if err := tx.PutObjects(log, rows); err != nil {
				return err
			}
			for j, o := range objects {
				if j%10 != 0 {
					if _, err := tx.Pin(log, o.ID, 1); err != nil {
						return err
					}
				}
			}
			return tx.Marks(marks)
		}))
	}
}

// dropMost drops two thirds of what is named.
func dropMost(b *testing.B, dir string) (n int) {
	b.Helper()
	db, err := meta.Open(filepath.Join(dir, databaseName))
	must(b, err)
	defer db.Close()
	var ids []signet.ObjectID
	i := 0
	must(b, db.Objects(1, func(o meta.Object) error {
		if i++; o.Entry != 0 && i%3 != 0 {
			ids = append(ids, o.ID)
		}
		return nil
	}))
	n = len(ids)
	for len(ids) > 0 {
		k := min(len(ids), 4096)
		must(b, db.Update(func(tx *meta.Tx) error { _, err := tx.Drop(1, ids[:k]); return err }))
		ids = ids[k:]
	}
	return n
}

// peak is the most memory that the heap had while f ran, over what it had before.
func peak(f func()) (bytes uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	done, stopped := make(chan bool), make(chan bool)
	go func() {
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-done:
				close(stopped)
				return
			case <-t.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				bytes = max(bytes, m.HeapAlloc)
			}
		}
	}()
	f()
	close(done)
	<-stopped
	return bytes - min(bytes, before)
}

// BenchmarkGC says what a round costs where most of what is there is dead: first
// objects of 1 KiB, a million of them, then such as files of photos have. A tenth
// was never named. "copy" is the rate of a plain copy of the packs, synced.
func BenchmarkGC(b *testing.B) {
	for _, s := range []struct {
		name    string
		n, size int
	}{{"1000000x1KiB", 1_000_000, 1 << 10}, {"2000x1MiB", 2000, 1 << 20}} {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				fill(b, dir, s.n, s.size)
				start := time.Now()
				dropped := dropMost(b, dir)
				b.ReportMetric(float64(dropped)/time.Since(start).Seconds(), "drops/s")
				start = time.Now()
				now := time.Now()
				p, err := GCPlan(dir, now)
				must(b, err)
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "plan-ms")
				b.ReportMetric(plainCopy(b, dir), "copy-MB/s")
				b.StartTimer()
				start = time.Now()
				var f Freed
				mem := peak(func() {
					f, err = GC(context.Background(), dir, time.Now, nil)
					must(b, err)
				})
				took := time.Since(start).Seconds()
				b.StopTimer()
				if f.Bytes < p.Bytes-1<<20 || f.Objects == 0 {
					b.Errorf("planned %+v, did %+v", p, f)
				}
				b.ReportMetric(took, "gc-s")
				b.ReportMetric(float64(f.Copied)/took/1e6, "gc-copied-MB/s")
				b.ReportMetric(float64(f.Bytes)/took/1e6, "gc-freed-MB/s")
				b.ReportMetric(float64(mem)/1e6, "heap-MB")
				b.StartTimer()
			}
		})
	}
}

// plainCopy copies all packs to one file, syncs it, and says how many MB a second
// that were.
func plainCopy(b *testing.B, dir string) float64 {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*.pack"))
	must(b, err)
	out, err := os.Create(filepath.Join(dir, "copy"))
	must(b, err)
	start := time.Now()
	var n int64
	for _, name := range names {
		in, err := os.Open(name)
		must(b, err)
		m, err := io.Copy(out, struct{ io.Reader }{in}) // through memory, as gc does
		must(b, err)
		n += m
		must(b, in.Close())
	}
	must(b, durable.SyncFile(out))
	took := time.Since(start).Seconds()
	must(b, out.Close())
	must(b, os.Remove(out.Name()))
	return float64(n) / took / 1e6
}

// BenchmarkCommitWhileGC says how long a commit takes while packs are compacted, and
// while none are.
func BenchmarkCommitWhileGC(b *testing.B) {
	x := newBench(b)
	w := x.found().newRegion(1)
	waste := func() {
		for range 32 {
			ids, _ := w.store(32, 1<<20)
			must(b, w.append(w.log(), w.entry(ids...)))
			var drops []signet.ObjectID
			for i, id := range ids {
				if i%8 < 5 {
					drops = append(drops, id)
				}
			}
			w.drop(drops...)
		}
		must(b, x.uploads.flush(nil))
	}
	times := func(name string, more func(n int) bool) {
		var took []time.Duration
		for n := 0; more(n); n++ {
			ids, _ := w.store(1, 4000)
			start := time.Now()
			must(b, w.append(w.log(), w.entry(ids...)))
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, name+"-p99-ms")
		b.ReportMetric(float64(len(took)), name+"-commits")
	}
	for b.Loop() {
		b.StopTimer()
		waste()
		b.StartTimer()
		times("alone", func(n int) bool { return n < 400 })
		done := make(chan bool)
		go func() {
			f, err := x.gc.collect(context.Background(), budget{}, nil)
			if err != nil || f.Copied == 0 {
				b.Errorf("%+v, %v", f, err)
			}
			close(done)
		}()
		times("gc", func(n int) bool {
			select {
			case <-done:
				return n < 10
			default:
				return true
			}
		})
	}
}
