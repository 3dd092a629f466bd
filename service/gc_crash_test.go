package service

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/service/meta"
)

// dieInGC does a round of gc on the data in dir and kills its process at a step:
// "TIME N", the Nth that there is.
func dieInGC(dir, step string) error {
	ms, at, _ := strings.Cut(step, " ")
	now, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return err
	}
	left, err := strconv.Atoi(at)
	if err != nil {
		return err
	}
	c, err := openCollector(dir, func() time.Time { return time.UnixMilli(now) })
	if err != nil {
		return err
	}
	c.moves = 3
	c.step = func(name string) {
		if left--; left > 0 {
			return
		}
		fmt.Println(name)
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			self.Kill()
		}
		select {}
	}
	if _, err := c.collect(context.Background(), budget{}, nil); err != nil {
		return err
	}
	fmt.Println("through")
	return nil
}

// killedGC runs gc in a process of its own on a copy of some data, which the bench has
// from then on, and has it die after so many steps. It returns what it said of the last.
func (b *bench) killedGC(origin string, steps int) string {
	b.dir = filepath.Join(b.t.TempDir(), "data")
	must(b.t, os.CopyFS(b.dir, os.DirFS(origin)))
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "SIGNET_TEST_GC="+b.dir, fmt.Sprintf("SIGNET_TEST_STEP=%d %d", b.millis(), steps))
	c.Stderr = os.Stderr
	out, _ := c.Output()
	return strings.TrimSpace(string(out))
}

// Killed at any step, and after a loss of power that took what was not synced yet,
// gc has lost nothing that is live, brings nothing back that is gone, and leaves
// nothing that the next round does not find.
func TestKilledGCLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	b := newBench(t)
	w := b.found().newRegion(1)
	ids, objects := w.store(24, 9000)
	must(t, w.append(w.log(), w.entry(ids...)))
	must(t, b.uploads.flush(nil))
	b.gc.packs.Seal(1) // what comes next goes to another pack
	more, bytes := w.store(30, 9000)
	must(t, w.append(w.log(), w.entry(more...)))
	idle, _ := w.store(2, 9000)
	waste := append(ids[8:], more[5:]...)
	w.drop(waste...)
	ids, objects = append(ids[:8:8], more[:5]...), append(objects[:8:8], bytes[:5]...)
	for _, id := range ids[:2] {
		b.gone[id] = true
	}
	b.clock.advance(31 * day)
	must(t, b.Service.Close())
	origin := b.dir
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	var steps []string
	for n := 1; n < 200; n++ {
		step := b.killedGC(origin, n)
		steps = append(steps, step)
		if step == "" {
			t.Fatal("the process said nothing")
		}
		loseUnsynced(t, b.dir, random)
		late := ids[:2] // dropped while gc worked, just before it died
		dropLate(t, b.dir, late)
		ids, objects := ids[2:], objects[2:]
		b.open()
		w.connect()
		w.wantGet(ids, objects)
		w.wantHave(false, slices.Concat(late, waste)...)
		b.whole()
		f := b.collect()
		w.wantGet(ids, objects)
		w.wantHave(false, slices.Concat(late, idle, waste)...)
		if f.Left > minDead || f.Damaged+f.Waiting > 0 {
			t.Errorf("%d %s: %+v", n, step, f)
		}
		b.noOrphans(n, step)
		b.whole()
		must(t, b.Service.Close())
		if t.Failed() || step == "through" {
			break
		}
	}
	b.open() // what newBench's cleanup closes
	seen := map[string]bool{}
	for _, s := range steps {
		seen[s] = true
	}
	for _, s := range []string{"expired", "sealed", "reserved", "copying", "copied", "moved", "removed", "forgotten", "through"} {
		if !seen[s] {
			t.Errorf("no death at %q: %v", s, steps)
		}
	}
	t.Logf("%d steps: %v", len(steps), steps)
}

// dropLate drops objects of the first region.
func dropLate(t *testing.T, dir string, ids []signet.ObjectID) {
	t.Helper()
	db, err := meta.Open(filepath.Join(dir, databaseName))
	must(t, err)
	defer db.Close()
	nums, err := regions(db)
	must(t, err)
	for _, num := range nums {
		must(t, db.Update(func(tx *meta.Tx) error { _, err := tx.Drop(num, ids); return err }))
	}
}

// loseUnsynced cuts the packs that a compaction had not made durable yet.
func loseUnsynced(t *testing.T, dir string, random *mathrand.Rand) {
	t.Helper()
	db, err := meta.Open(filepath.Join(dir, databaseName))
	must(t, err)
	defer db.Close()
	packs, err := db.Packs()
	must(t, err)
	for _, p := range packs {
		name := filepath.Join(dir, "packs", "00", fmt.Sprintf("%08x.pack", p.Pack))
		if info, err := os.Stat(name); err == nil && p.End == meta.Reserved && random.IntN(2) == 0 {
			must(t, os.Truncate(name, random.Int64N(info.Size()+1)))
		}
	}
}

// noOrphans checks that each pack on disk has something live, and each one in the
// index is on disk.
func (b *bench) noOrphans(n int, step string) {
	b.t.Helper()
	known, err := b.db.Packs()
	must(b.t, err)
	files, err := b.gc.packs.Packs()
	must(b.t, err)
	live := map[uint32]bool{}
	for i, p := range known {
		if live[p.Pack] = p.Live > 0; !live[p.Pack] && (i < len(known)-1 || p.End != 0) {
			b.t.Errorf("%d %s: the index keeps %+v", n, step, p)
		}
	}
	for _, p := range files {
		if !live[p] {
			b.t.Errorf("%d %s: pack %08x is left", n, step, p)
		}
		delete(live, p)
	}
	for p, is := range live {
		if is {
			b.t.Errorf("%d %s: pack %08x is missing", n, step, p)
		}
	}
}
