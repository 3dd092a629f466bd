package region

import (
	"slices"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/tree"
)

// keep is what a device notes of the tree as it is.
func (m *member) keep() (note []byte, pages [][]byte) {
	m.w.T.Helper()
	p, hashes, ok := m.Progress()
	if !ok {
		m.w.T.Fatal("no secret")
	}
	for i := range hashes {
		pages = append(pages, m.Page(i))
	}
	return p.Append(nil), pages
}

func TestResumedRegionGoesOnAsTheReplayedOne(t *testing.T) {
	w, a := newWorld(t)
	a.many(700)
	var gone []signet.NodeID
	var ops []tree.Op
	for _, n := range a.Tree.Children(signet.RootNode)[:3] {
		gone = append(gone, n.ID)
		ops = append(ops, tree.Op{Kind: tree.Delete, Node: n.ID, Restored: true, BaseContent: n.Content.Revision, BasePlace: n.Place.Revision, BaseAttr: n.Attr.Revision})
	}
	a.commit(ops...)
	a.commit()
	note, pages := a.keep()
	kept, err := ParseProgress(note)
	w.Must(err)
	a.commit(file("later"))
	a.commit()
	at := kept.Position
	b := a.again()
	w.Must(b.Resume(kept, slices.Values(pages)))
	if b.Replayed() != at || b.Tree.Len() != 697 {
		t.Fatalf("resumed at %d of %d, %d nodes", b.Replayed(), at, b.Tree.Len())
	}
	for _, id := range gone {
		if !b.Tree.Ref(id).Undone() {
			t.Error("what a restore deleted is deleted by anybody")
		}
	}
	for _, rec := range w.j.Log[at:] {
		_, err := b.Replay(rec)
		w.Must(err)
	}
	k := tree.DigestKey(a.secret.DigestKey())
	if b.Tree.Digest(k) != a.Tree.Digest(k) || b.point != a.point || b.digests[a.point] != a.digests[a.point] || b.since != a.since {
		t.Errorf("goes on otherwise: point %d and %d, %d and %d operations", b.point, a.point, b.since, a.since)
	}
}

// again is a replica of the journal's headers, with nothing replayed.
func (m *member) again() *Region {
	m.w.T.Helper()
	r := New(m.w.j.ID, m.w.Directory(), &m.me, func() *Keys { return m.keys })
	for _, rec := range m.w.j.Log {
		if h, err := journal.IDOf(rec.Head); err == nil && !h.Type.Authority() {
			rec.Blob = nil
		}
		_, _, err := r.Take(rec)
		m.w.Must(err)
	}
	return r
}

func TestWhatIsNotTheTreeKeptIsNotResumed(t *testing.T) {
	w, a := newWorld(t)
	a.many(700)
	a.many(700)
	note, pages := a.keep()
	a.commit(file("later"))
	_, others := a.keep()
	p, err := ParseProgress(note)
	w.Must(err)
	for what, list := range map[string][][]byte{
		"no pages": nil, "a page less": pages[:len(pages)-1], "another order": {pages[1], pages[0]},
		"one of another time": append(slices.Clone(pages[:len(pages)-1]), others[len(others)-1]), "all of another time": others,
	} {
		if slices.EqualFunc(list, pages, slices.Equal[[]byte]) {
			continue // the change was elsewhere
		}
		b := a.again()
		if err := b.Resume(p, slices.Values(list)); err == nil || b.Replayed() != 0 || b.Tree.Len() != 0 {
			t.Errorf("%s: %v, at %d, %d nodes", what, err, b.Replayed(), b.Tree.Len())
		}
	}
	p.Position = a.State.Size() + 1
	if err := a.again().Resume(p, slices.Values(pages)); err == nil {
		t.Error("resumed beyond what was verified")
	}
	for n := range note {
		if _, err := ParseProgress(note[:n]); err == nil {
			t.Fatalf("%d of %d bytes of a note are one", n, len(note))
		}
	}
}
