//go:build !race

package owner_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"signet/device/engine"
	"signet/device/owner"
)

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
