package owner_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/owner"
)

// kept counts the objects that are kept and those that are not any more, under
// a policy that keeps no hours.
func (d *device) keptObjects() (kept, not int) {
	d.t.Helper()
	now := time.Now().UnixMilli()
	until, err := d.Engine.KeptUntil(d.t.Context(), d.Engine.Volumes()[0].Region, tree.Keep{}, now)
	must(d.t, err)
	for _, t := range until {
		if t > now {
			kept++
		} else {
			not++
		}
	}
	return kept, not
}

func TestObjectsAreKeptThatKeptRevisionsUse(t *testing.T) {
	d := alone(t, "small")
	large := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range large {
		large[i] = byte(r.Uint32())
	}
	d.write("large", string(large))
	d.sync()
	kept, not := d.keptObjects()
	if kept < 5 || not != 0 {
		t.Fatalf("%d kept, %d not", kept, not)
	}
	moment()
	// One piece changes: it and the manifest's page are another, the rest is shared.
	large[300<<10] ^= 1
	d.write("large", string(large))
	d.sync()
	moment()
	if k, n := d.keptObjects(); k != kept || n < 1 || n > 3 {
		t.Errorf("%d kept, %d not", k, n)
	}
	must(t, os.Remove(d.path("large")))
	must(t, os.Remove(d.path("small")))
	d.sync()
	moment()
	if k, n := d.keptObjects(); k != 0 || n < kept+1 {
		t.Errorf("after all was deleted %d kept, %d not", k, n)
	}
	// A pin keeps what it holds, all of it.
	raw, _, err := d.call("pin", owner.PinParams{Path: d.dir, Name: "with large", At: time.Now().Add(-time.Hour)})
	if f := control.FaultOf(err); f == nil || f.Kind != "not_found" || !strings.Contains(f.Message, "began at") {
		t.Errorf("a pin before there was anything: %s, %v", raw, err)
	}
	must(t, d.pinAt("with large", 2))
	if k, n := d.keptObjects(); k != kept || n < 1 || n > 3 {
		t.Errorf("pinned: %d kept, %d not", k, n)
	}
	d.restore(owner.RestoreParams{Path: "large"})
	if b, err := os.ReadFile(d.path("large")); err != nil || !bytes.Equal(b, large) {
		t.Errorf("restored: %v", err)
	}
}

// pinAt pins the position of a region.
func (d *device) pinAt(name string, position int) error {
	d.t.Helper()
	times, err := d.Engine.LeafTimes(d.Engine.Volumes()[0].Region)
	if err != nil {
		return err
	}
	raw, _, err := d.call("pin", owner.PinParams{Path: d.dir, Name: name, At: time.UnixMilli(times[position])})
	var l owner.PinLine
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err == nil && l.Position != uint64(position) {
		d.t.Errorf("pinned is %d, not %d", l.Position, position)
	}
	return err
}

func TestHistoryOfALargeRegionIsThatOfASmallOne(t *testing.T) {
	d := alone(t, "a", "b/c", "b/d")
	must(t, os.Rename(d.path("a"), d.path("b/a")))
	d.write("b/c", "another")
	d.sync()
	must(t, os.Remove(d.path("b/d")))
	d.sync()
	for _, p := range []string{"b/a", "b", "a", "b/d", "b/c"} {
		_, whole, err := d.call("history", owner.HistoryParams{Path: d.path(p)})
		must(t, err)
		was := owner.SetHistoryMost(0)
		_, twice, err := d.call("history", owner.HistoryParams{Path: d.path(p)})
		owner.SetHistoryMost(was)
		must(t, err)
		if len(whole.items) < 2 || !slices.EqualFunc(whole.items, twice.items, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("%s: %s, and %s", p, whole.items, twice.items)
		}
	}
}

func TestRestoreOfAFolderTakesTheNewestKeptPoint(t *testing.T) {
	d := alone(t, "d/f")
	first := moment()
	d.write("d/f", "second")
	d.write("d/g", "made then")
	d.sync()
	second := moment()
	d.write("d/f", "third")
	d.sync()
	must(t, d.pinAt("first", 1))
	d.Close()
	var err error
	if d.Owner, err = owner.OpenAt(d.home, "test", func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }); err != nil {
		t.Fatal(err)
	}
	must(t, d.Engine.LoadVolumes())
	// Of the second nothing is kept any more, so it is the first, which is pinned.
	to := filepath.Join(t.TempDir(), "to")
	raw, _, err := d.call("restore", owner.RestoreParams{Path: d.path("d"), At: second, To: to})
	must(t, err)
	var r owner.Restored
	must(t, json.Unmarshal(raw, &r))
	if !r.Point.Before(first) {
		t.Errorf("as of %s", r.Point)
	}
	wantFiles(t, to, "d/f=content of d/f")
	// A file is what it was at the very time, as long as it can be had.
	to = filepath.Join(t.TempDir(), "to")
	_, _, err = d.call("restore", owner.RestoreParams{Path: d.path("d/f"), At: second, To: to})
	must(t, err)
	wantFiles(t, to, "f=second")
	var kinds []string
	_, ui, err := d.call("history", owner.HistoryParams{Path: d.dir})
	must(t, err)
	for _, i := range ui.items {
		var l owner.PointLine
		must(t, json.Unmarshal(i, &l))
		kinds = append(kinds, strings.Join(l.Kinds, "+"))
	}
	if !strings.HasSuffix(kinds[len(kinds)-1], "pinned") || !strings.HasPrefix(kinds[0], "current") {
		t.Errorf("%q", kinds)
	}
}
