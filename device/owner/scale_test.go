package owner_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/owner"
)

// A ledger counts what is asked of a disk and of the service, by words.
type ledger struct {
	mu      sync.Mutex
	n       map[string]int
	placing bool // a file was placed, and the disk not synced since
	placed  int  // turns that placed files
}

func (l *ledger) note(what string, n int) {
	l.mu.Lock()
	l.n[what] += n
	l.mu.Unlock()
}

// turn notes that a file was placed, or else that the disk is synced: a turn that
// places files does so at its end.
func (l *ledger) turn(placing bool) {
	l.mu.Lock()
	if l.placing && !placing {
		l.placed++
	}
	l.placing = placing
	l.mu.Unlock()
}

// since empties the ledger and returns what it had.
func (l *ledger) since() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.n
	l.n = map[string]int{}
	return n
}

// A booked volume has its work written down, and may have a watch that breaks at
// once.
type booked struct {
	engine.Volume
	in     *ledger
	broken bool
}

func (b booked) Watch(ctx context.Context, skip func(string) bool) (<-chan engine.Event, error) {
	if !b.broken {
		return b.Volume.Watch(ctx, skip)
	}
	out := make(chan engine.Event)
	close(out)
	return out, nil
}

func (b booked) Scan(ctx context.Context, from string, skip func(string) bool, emit func(engine.Listing) error) error {
	b.in.note("scans", 1)
	return b.Volume.Scan(ctx, from, skip, func(l engine.Listing) error {
		b.in.note("folders listed", 1)
		return emit(l)
	})
}

func (b booked) Stat(path string) (tree.Stat, error) {
	b.in.note("stats", 1)
	return b.Volume.Stat(path)
}

func (b booked) Read(path string) (engine.Reading, error) {
	b.in.note("files read", 1)
	return b.Volume.Read(path)
}

func (b booked) Place(s engine.Staged, path string) (tree.Stat, error) {
	b.in.note("files placed", 1)
	b.in.turn(true)
	return b.Volume.Place(s, path)
}

func (b booked) Mkdir(path string, mode uint32) (tree.Stat, error) {
	b.in.note("folders made", 1)
	return b.Volume.Mkdir(path, mode)
}

func (b booked) Move(from, to string, expect tree.Stat) (tree.Stat, error) {
	b.in.note("moves", 1)
	return b.Volume.Move(from, to, expect)
}

func (b booked) Trash(path string, expect tree.Stat, id string) (engine.Displaced, error) {
	b.in.note("files trashed", 1)
	return b.Volume.Trash(path, expect, id)
}

func (b booked) Settle(ctx context.Context, files []engine.Staged) error {
	b.in.note("waits for the disk", 1)
	return b.Volume.Settle(ctx, files)
}

func (b booked) Sync(ctx context.Context) error {
	b.in.note("syncs", 1) // one at the end of each turn that does something, one before what was found equal is agreed on
	b.in.turn(false)
	return b.Volume.Sync(ctx)
}

// A bookedService has its requests written down.
type bookedService struct {
	engine.Service
	in *ledger
}

func (b bookedService) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	b.in.note("entries", 1)
	b.in.note("requests", 1)
	return b.Service.Append(ctx, log, r, sent)
}

func (b bookedService) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	b.in.note("requests", 1)
	return b.Service.Read(ctx, log, from, parts)
}

func (b bookedService) Have(ctx context.Context, region signet.RegionID, ids []signet.ObjectID) ([]signet.ObjectID, error) {
	b.in.note("requests", 1)
	return b.Service.Have(ctx, region, ids)
}

func (b bookedService) Put(ctx context.Context, region signet.RegionID, objects [][]byte) error {
	b.in.note("requests", 1)
	b.in.note("objects sent", len(objects))
	return b.Service.Put(ctx, region, objects)
}

func (b bookedService) Get(ctx context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	b.in.note("requests", 1)
	b.in.note("objects fetched", len(ids))
	return b.Service.Get(ctx, region, ids, each)
}

// book has the work of a device's volumes, from the next opening on, and its
// requests written down.
func (d *device) book(broken bool) *ledger {
	l := &ledger{n: map[string]int{}}
	open := d.Engine.OpenVolume
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return booked{v, l, broken}, err
	}
	d.Engine.Service = bookedService{d.Engine.Service, l}
	return l
}

// TestWhatTwentyThousandFilesCost counts: what is done for each file is done
// once, and what one change costs has nothing to do with how many there are.
func TestWhatTwentyThousandFilesCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const (
		folders = 200
		files   = 20_000
		entries = 3 * files / 1000 // an entry has 1,024 operations at most; a slow machine fills them less
	)
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	for f := range folders {
		must(t, os.MkdirAll(a.path(fmt.Sprintf("half%d/d%d", f%2, f)), 0o755))
	}
	for i := range files {
		f := i % folders
		must(t, os.WriteFile(a.path(fmt.Sprintf("half%d/d%d/f%d", f%2, f, i)), fmt.Append(nil, "content ", i), 0o644))
	}
	at := map[*device]*ledger{}
	// does has a device sync, and wants what it did to be within limits; of what
	// is not named, nothing.
	does := func(d *device, what string, most map[string]int) {
		t.Helper()
		at[d].since()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for _, v := range d.Engine.Volumes() {
			if _, err := d.Engine.SyncVolume(ctx, v.ID); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		did := at[d].since()
		t.Logf("%s: %v", what, did)
		for k, n := range did {
			if n > most[k] {
				t.Errorf("%s: %d %s, of at most %d", what, n, k, most[k])
			}
		}
		for k, n := range most {
			if strings.HasPrefix(k, "files") || strings.HasPrefix(k, "objects") || k == "moves" || k == "folders made" {
				if did[k] != n {
					t.Errorf("%s: %d %s, want %d", what, did[k], k, n)
				}
			}
		}
	}
	for _, d := range []*device{a, b} {
		// What was hashed within a minute of being saved is hashed once more after
		// that: by this clock, it was saved before.
		d.Close()
		var err error
		d.Owner, err = owner.OpenAt(d.home, "test", func() time.Time { return time.Now().Add(2 * time.Minute) })
		must(t, err)
		must(t, d.Engine.LoadVolumes())
		at[d] = d.book(false)
	}
	a.add("Many")
	does(a, "added", map[string]int{"folders listed": 2 * (folders + 3), "files read": files, "objects sent": files + 4, // and the snapshot's
		"entries": entries, "requests": 5 * entries, "stats": 10, "syncs": 20, "scans": 2})
	b.add("Many")
	does(b, "joined", map[string]int{"folders listed": folders + 3, "folders made": folders + 2, "files placed": files, "objects fetched": files,
		"requests": files/64 + 20, "waits for the disk": files/256 + 20, "entries": 1, "stats": 10, "syncs": 20, "scans": 2})
	same(t, a, b)
	does(a, "nothing changed", map[string]int{"folders listed": folders + 3, "requests": 4, "stats": 2, "syncs": 1, "scans": 1})

	// Each goes on without a look at everything: as daemons do, by the watch.
	stopA, stopB := a.run(), b.run()
	a.settled()
	b.settled()
	change := func(what string, do func(), arrived func() bool, mostA, mostB map[string]int) {
		t.Helper()
		at[a].since()
		at[b].since()
		do()
		b.eventually(what, arrived)
		for _, d := range []*device{a, b} { // settled would have it look at everything
			d.eventually("in step", func() bool { return d.Engine.Status()[0].State == engine.InStep })
		}
		for name, d := range map[string]*device{"a": a, "b": b} {
			most := map[string]map[string]int{"a": mostA, "b": mostB}[name]
			did := at[d].since()
			t.Logf("%s, %s: %v", what, name, did)
			for _, k := range slices.Sorted(maps.Keys(did)) {
				if did[k] > most[k] {
					t.Errorf("%s, %s: %d %s, of at most %d", what, name, did[k], k, most[k])
				}
			}
		}
	}
	change("one file written", func() { a.write("half1/d1/new", "new") }, b.has("half1/d1/new"),
		map[string]int{"scans": 2, "folders listed": 2, "files read": 1, "objects sent": 1, "entries": 1, "requests": 6, "stats": 12, "syncs": 2},
		map[string]int{"scans": 2, "syncs": 2, "folders listed": 2, "files placed": 1, "objects fetched": 1, "requests": 4, "stats": 12, "waits for the disk": 1, "files read": 1})
	change("half of them renamed", func() { must(t, os.Rename(a.path("half0"), a.path("moved"))) }, b.has("moved/d0/f0"),
		map[string]int{"scans": 4, "folders listed": 2 * (folders/2 + 3), "entries": 1, "requests": 6, "stats": 12, "syncs": 2},
		map[string]int{"scans": 4, "syncs": 2, "folders listed": 2 * (folders/2 + 3), "moves": 1, "requests": 4, "stats": 12})
	stopA()
	stopB()
	same(t, a, b)
}
