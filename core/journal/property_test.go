package journal_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/ring/ringtest"
)

// Devices of two rings sign pipelines, some entries of them spoiled, and
// authority entries, grants to the second ring among them; the service gets them in any order of the two and orders whatever
// it gets. The honest service and every replica, whole or of headers alone,
// come to the same verdict on each, and a replica that has the directory of
// later comes to the same as one that had it then.
func TestVerdictsAreThoseOfTheServiceInAnyOrder(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b a+c")
	m := w.Member("a", "m")
	early := w.Checkpoint()
	base := w.Region(r, "a")
	genesis := base.Log[0]
	w.Draw(r, "a-c")
	rapid.Check(t, func(rt *rapid.T) {
		j := &ringtest.Journal{World: w, ID: base.ID, State: journal.NewState(base.ID, w.Directory())}
		if _, _, err := j.Force(genesis); err != nil {
			rt.Fatal(err)
		}
		var lines [][]signet.Record
		for _, by := range []string{"a", "b", "c", "m"} {
			lines = append(lines, drawLine(rt, j, m, by, early))
		}
		for slices.ContainsFunc(lines, func(l []signet.Record) bool { return len(l) > 0 }) {
			i := rapid.IntRange(0, len(lines)-1).Draw(rt, "who")
			if len(lines[i]) == 0 {
				continue
			}
			if rapid.IntRange(0, 9).Draw(rt, "a long time") == 0 {
				j.Now += 8 * 24 * 3600 * 1000
			}
			rec := lines[i][0]
			lines[i] = lines[i][1:]
			stale := j.State.StaleAt(w.State.Size())
			_, refusal := j.State.Check(rec.Head, rec.Blob, j.Now+1)
			e, reason, err := j.Force(rec)
			if err != nil {
				rt.Fatalf("the replay stops: %v", err)
			}
			switch {
			case refusal == nil && e == nil:
				rt.Fatalf("the service takes what replicas do not: %v", reason)
			case refusal != nil && e != nil && e.Void == nil && !e.BackDated && !stale && e.Type != journal.Rekey:
				rt.Fatalf("the service refuses what replicas take: %v", refusal)
			}
		}
		whole, headers := j.Replay(w.Directory(), true), j.Replay(w.Directory(), false)
		if !slices.Equal(whole.Valid, headers.Valid) || !slices.Equal(whole.Back, headers.Back) {
			rt.Fatalf("verdicts with parts %v and without %v", whole.Valid, headers.Valid)
		}
		for _, s := range []*journal.State{whole.State, headers.State} {
			if s.Tree.Root() != j.State.Tree.Root() || s.Latest() != j.State.Latest() || s.Invalid() != j.State.Invalid() ||
				s.DirectorySize() != j.State.DirectorySize() || s.Role(m) != j.State.Role(m) || s.Role(r) != j.State.Role(r) || s.Current().Number != j.State.Current().Number ||
				s.Floor() != j.State.Floor() || !slices.Equal(s.Sentences(), j.State.Sentences()) {
				rt.Fatal("states differ")
			}
			for _, d := range []string{"a", "b", "c", "m"} {
				if s.Own(w.ID(d)) != j.State.Own(w.ID(d)) {
					rt.Fatalf("the chain of %s differs", d)
				}
			}
		}
	})
}

// drawLine is what one device signs without hearing of the others.
func drawLine(rt *rapid.T, j *ringtest.Journal, other signet.RingID, by string, early *chain.Checkpoint) []signet.Record {
	var list []signet.Record
	var own signet.Hash
	authority, gen := j.State.Latest(), j.State.Current().Number
	knows := by != "c" && rapid.Bool().Draw(rt, by+" knows of the revocation")
	for range rapid.IntRange(0, 5).Draw(rt, by+" length") {
		var d *journal.Draft
		kinds := 8
		if journal.Granting {
			kinds = 9
		}
		switch kind := rapid.IntRange(0, kinds).Draw(rt, by+" kind"); kind {
		case 0:
			d = j.Draft(journal.Marker, by)
		case 1:
			d = j.Rekey(by)
		case 6, 7, 8:
			typ, ids := journal.Condemn+journal.Type(kind-6), []signet.ObjectID{{1}, {2}, {3}}
			n := rapid.IntRange(0, 2).Draw(rt, by+" object")
			g := journal.Ending{Days: 7, Objects: ids[n : n+1+rapid.IntRange(0, 2-n).Draw(rt, by+" more")]}
			for _, c := range j.State.Sentences() {
				g.Condemn = c.Hash
			}
			d = j.End(typ, by, g)
		case 9:
			d = j.Grant(by, other, journal.Role(rapid.IntRange(1, 3).Draw(rt, by+" role")))
		default:
			d = j.Draft(journal.Content, by)
			d.Own, d.Generation = own, gen
			if kind == 5 {
				d.Own[0] ^= 1
			}
		}
		d.Authority = authority
		if !knows {
			d.Dir = early
		}
		rec := j.Sign(d, by)
		hash, err := journal.HashOf(rec.Head)
		if err != nil {
			rt.Fatal(err)
		}
		if d.Type.Authority() {
			authority = hash
			if d.Type == journal.Rekey && knows {
				gen = d.Generation
			}
		} else if rapid.Bool().Draw(rt, by+" goes on") {
			own = hash
		}
		list = append(list, rec)
	}
	return list
}
