package journal_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/journal"
	"signet/core/ring/ringtest"
)

// snapshot orders a point and a snapshot of it, both of a device.
func snapshot(j *ringtest.Journal, by string) (of signet.Hash, at uint64) {
	j.T.Helper()
	_, err := j.Offer(j.Sign(j.Point(by), by))
	j.Must(err)
	at = j.State.Size()
	e, err := j.Offer(j.Sign(j.Snapshot(by, at), by))
	j.Must(err)
	return e.Hash, at
}

func TestAHorizonHasEffectAfterItsGrace(t *testing.T) {
	w, _, j := start(t)
	first, at := snapshot(j, "b")
	e, err := j.Offer(j.Sign(j.Limit("a", journal.Limit{Snapshot: first, Days: 7, Keep: []journal.Stretch{{First: 1, End: 2}}}), "a"))
	w.Must(err)
	due := e.Time + 7*24*3600*1000
	if h := j.State.Horizon(due - 1); h != nil {
		t.Errorf("in effect within the grace: %v", h)
	}
	if c := j.State.Coming(due - 1); c == nil || c.At != at || c.Due != due {
		t.Errorf("coming: %v", c)
	}
	h := j.State.Horizon(due)
	if h == nil || j.State.Coming(due) != nil || h.Hash != e.Hash || h.At != at || h.Digest != (signet.Hash{byte(at)}) {
		t.Fatalf("when it is due: %v", h)
	}
	for p := range at + 2 {
		if h.Drops(p) != (p < at && p != 1) {
			t.Errorf("entry %d dropped: %v", p, h.Drops(p))
		}
	}
	// One that comes does not end the one that is.
	j.Now = due
	second, _ := snapshot(j, "a")
	_, err = j.Offer(j.Sign(j.Limit("a", journal.Limit{Snapshot: second, Days: 7}), "a"))
	w.Must(err)
	if got := j.State.Horizon(j.Now); got.Hash != h.Hash || j.State.Coming(j.Now) == nil {
		t.Errorf("with another to come: %v", got)
	}
	same(t, j, "a", "b")
}

// What a stolen device signed is taken back where it is revoked within the grace,
// whether it signed the horizon or the snapshot; afterwards it stands.
func TestARevocationWithinTheGraceTakesAHorizonBack(t *testing.T) {
	for name, by := range map[string][2]string{"horizon": {"a", "b"}, "snapshot": {"b", "a"}, "too late": {"b", "b"}} {
		t.Run(name, func(t *testing.T) {
			w, r, j := start(t)
			of, _ := snapshot(j, by[0])
			_, err := j.Offer(j.Sign(j.Limit(by[1], journal.Limit{Snapshot: of, Days: 7}), by[1]))
			w.Must(err)
			if name == "too late" {
				j.Now += eightDays
			}
			w.Draw(r, "a-b")
			_, err = j.Offer(j.Sign(j.Rekey("a"), "a"))
			w.Must(err)
			if h := j.State.Horizon(j.Now + eightDays); (h != nil) != (name == "too late") {
				t.Errorf("after the grace: %v", h)
			}
			same(t, j, "a")
		})
	}
}

func TestWithoutOperationsIsNotOrdered(t *testing.T) {
	_, _, j := start(t)
	rec := j.Sign(j.Draft(journal.Content, "a"), "a")
	short, ok := journal.Drop(rec.Head, rec.Blob)
	if !ok || journal.Dropped(rec) || !journal.Dropped(signet.Record{Head: rec.Head, Blob: short}) {
		t.Fatal("operations do not go from a content entry")
	}
	if _, again := journal.Drop(rec.Head, short); again {
		t.Error("they go twice")
	}
	if _, ok := journal.Drop(j.Log[0].Head, j.Log[0].Blob); ok {
		t.Error("an authority entry loses something")
	}
	if _, err := j.State.Check(rec.Head, short, j.Now); err == nil {
		t.Error("a new entry without its operations is taken")
	}
	if _, err := j.State.Check(rec.Head, rec.Blob, j.Now); err != nil {
		t.Error(err)
	}
}

// Stretches keep all that they must, in as few as they may be.
func TestStretchesKeep(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := map[uint64]bool{}
		var list []uint64
		for range rapid.IntRange(0, 60).Draw(rt, "n") {
			if p := rapid.Uint64Range(0, 200).Draw(rt, "position"); !set[p] {
				set[p] = true
				list = append(list, p)
			}
		}
		slices.Sort(list)
		most := rapid.IntRange(1, 60).Draw(rt, "most")
		got := journal.StretchesOf(list, most)
		if len(got) > most {
			rt.Fatalf("%d stretches", len(got))
		}
		h := journal.Horizon{At: 201, Keep: got}
		exact := true
		for p := range uint64(201) {
			if h.Drops(p) && set[p] {
				rt.Fatalf("%d of %v goes: %v", p, list, got)
			}
			exact = exact && h.Drops(p) != set[p]
		}
		if most == 60 && !exact {
			rt.Fatalf("%v keeps more than %v", got, list)
		}
		l := journal.Limit{Days: 7, Keep: got}
		if _, err := journal.ParseLimit(l.Append(nil)); err != nil {
			rt.Fatal(err)
		}
	})
}

// Devices that know the journal up to some size each write, make points and
// snapshots, sign horizons and come late. Whatever happens, a horizon in effect
// never goes back, was due, never lets go what it or one before it keeps; and who
// reads what is left comes to the same state as who read all.
func TestWhatIsLeftReplaysToTheSame(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b a+c")
	base := w.Region(r, "a")
	genesis := base.Log[0]
	names := []string{"a", "b", "c"}
	effects := 0
	rapid.Check(t, func(rt *rapid.T) {
		j := &ringtest.Journal{World: w, ID: base.ID, State: journal.NewState(base.ID, w.Directory())}
		if _, _, err := j.Force(genesis); err != nil {
			rt.Fatal(err)
		}
		var shots []signet.Hash
		var sizes []uint64 // after each point
		points := map[string]bool{}
		var last *journal.Horizon
		gone := map[uint64]bool{}
		var mail []signet.Record
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			by := rapid.SampledFrom(names).Draw(rt, "device")
			var d *journal.Draft
			point := false
			switch rapid.IntRange(0, 9).Draw(rt, "verb") { // small numbers are drawn more often
			case 0:
				j.Now += eightDays / 2
			case 1, 2:
				if len(shots) > 0 {
					l := journal.Limit{Snapshot: rapid.SampledFrom(shots).Draw(rt, "snapshot"), Days: 7}
					if first := rapid.Uint64Range(0, j.State.Size()).Draw(rt, "first"); rapid.Bool().Draw(rt, "keeps") {
						l.Keep = []journal.Stretch{{First: first, End: first + 1}}
					}
					d = j.Limit(by, l)
				}
			case 3, 4:
				at := rapid.Uint64Range(0, j.State.Size()+1).Draw(rt, "at")
				if len(sizes) > 0 && rapid.Bool().Draw(rt, "of a point") {
					at = rapid.SampledFrom(sizes).Draw(rt, "size")
				}
				d = j.Snapshot(by, at)
			case 5:
				d, point = j.Point(by), true
			case 6, 7:
				d = j.Draft(journal.Content, by)
			}
			if d != nil {
				rec := j.Sign(d, by)
				points[string(rec.Head)] = point
				mail = append(mail, rec)
			}
			for len(mail) > rapid.IntRange(0, 2).Draw(rt, "late") {
				n := rapid.IntRange(0, len(mail)-1).Draw(rt, "which")
				rec := mail[n]
				mail = slices.Delete(mail, n, n+1)
				e, _, err := j.Force(rec)
				if err != nil {
					rt.Fatal(err)
				}
				if e != nil && points[string(rec.Head)] {
					sizes = append(sizes, j.State.Size())
				}
				if e != nil && e.Type == journal.Snapshot {
					shots = append(shots, e.Hash)
				}
			}
			h := j.State.Horizon(j.Now)
			if last != nil && (h == nil || h.At < last.At) {
				rt.Fatalf("the horizon went from %v to %v", last, h)
			}
			if h != nil && (h.Due > j.Now || h.At > h.Snapshot || h.Snapshot >= h.Position) {
				rt.Fatalf("in effect: %+v at %d", h, j.Now)
			}
			for p := range j.State.Size() {
				if gone[p] && !h.Drops(p) {
					rt.Fatalf("entry %d was dropped, and is to be kept", p)
				}
				if h.Drops(p) {
					gone[p] = true
				}
			}
			if h != nil && last != h {
				effects++
			}
			last = h
		}
		left := journal.NewState(base.ID, w.Directory())
		for p, rec := range j.Log {
			if short, ok := journal.Drop(rec.Head, rec.Blob); ok && last.Drops(uint64(p)) {
				rec.Blob = short
			}
			leaf, err := journal.ParseLeaf(rec.Leaf)
			if err == nil {
				_, _, err = left.Apply(leaf, rec.Head, rec.Blob)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		a, _ := j.State.Tree.RootAt(j.State.Size())
		b, _ := left.Tree.RootAt(left.Size())
		if a != b || left.Invalid() != j.State.Invalid() || left.Latest() != j.State.Latest() {
			rt.Fatal("what is left replays to another state")
		}
		if h := left.Horizon(j.Now); (h == nil) != (last == nil) || h != nil && h.Hash != last.Hash {
			rt.Fatalf("what is left has another horizon: %v, %v", h, last)
		}
	})
	if effects == 0 && !testing.Short() {
		t.Error("no horizon ever had effect")
	}
}
