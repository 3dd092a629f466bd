package region

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signet"
	"signet/core/tree"
)

// eventful is a replica that has all kinds of entries, and its steps: one
// without effect and one of an older generation, which it could open only by
// keys that came after it.
func eventful(t *testing.T) (*member, []Step) {
	w, a := newWorld(t)
	a.commit(file("x"), file("y"))
	n, _ := a.Tree.Lookup("x")
	a.commit(tree.Op{Kind: tree.Edit, Node: n.ID, Type: tree.Link, BaseContent: n.Content.Revision, Target: "elsewhere"})
	if _, reason, err := w.j.Force(w.j.Log[1]); reason == nil || err != nil { // once more
		t.Fatal(reason, err)
	}
	a.sync()
	gone := a.join("gone")
	a.revoke(gone, a)
	a.rekey()
	a.commit(file("x"))
	a.commit() // a digest point
	b := a.join("b")
	b.Region = New(w.j.ID, w.Directory(), &b.me, func() *Keys { return b.keys })
	return b, b.sync()
}

func TestRetellingTellsWhatTheReplayDid(t *testing.T) {
	m, want := eventful(t)
	again := m.Retell()
	// The region goes on meanwhile, and the retelling does not.
	m.commit(file("later"))
	var got []Step
	for again.Next() < again.End() {
		s, err := again.Replay(m.w.j.Log[again.Next()])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	invalid := 0
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i := range got {
		if d := cmp.Diff(want[i].Events, got[i].Events) + cmp.Diff(want[i].Outcomes, got[i].Outcomes); d != "" || got[i].Position != uint64(i) {
			t.Errorf("entry %d: %s", i, d)
		}
		if (got[i].Entry == nil) != (want[i].Entry == nil) {
			t.Errorf("entry %d has effect: %v, want %v", i, got[i].Entry != nil, want[i].Entry != nil)
		}
		if got[i].Entry == nil {
			invalid++
		}
	}
	if invalid != 1 {
		t.Errorf("%d entries without effect", invalid)
	}
	if _, err := again.Replay(m.w.j.Log[again.Next()]); err == nil {
		t.Error("what came later is told")
	}
}

func TestRetellingRefusesWhatWasNotVerified(t *testing.T) {
	m, _ := eventful(t)
	flip := func(b []byte) []byte {
		b = append([]byte(nil), b...)
		b[len(b)/2] ^= 1
		return b
	}
	again := m.Retell()
	for at := again.Next(); at < again.End(); at = again.Next() {
		rec := m.w.j.Log[at]
		bad := map[string]signet.Record{
			"leaf":    {Leaf: flip(rec.Leaf), Head: rec.Head, Blob: rec.Blob},
			"head":    {Leaf: rec.Leaf, Head: flip(rec.Head), Blob: rec.Blob},
			"another": m.w.j.Log[(at+1)%uint64(len(m.w.j.Log))],
		}
		if again.r.valid[at] {
			bad["blob"] = signet.Record{Leaf: rec.Leaf, Head: rec.Head, Blob: flip(rec.Blob)}
			bad["no blob"] = signet.Record{Leaf: rec.Leaf, Head: rec.Head}
		}
		for what, rec := range bad {
			if _, err := again.Replay(rec); !errors.Is(err, signet.ErrNotVerified) {
				t.Errorf("entry %d, %s: %v", at, what, err)
			}
		}
		if _, err := again.Replay(rec); err != nil { // nothing of it counted
			t.Fatal(err)
		}
	}
}
