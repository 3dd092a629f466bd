package region

import (
	"errors"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/tree"
)

// limit writes a horizon at a snapshot that keeps what its files need.
func (m *member) limit(at uint64) {
	m.w.T.Helper()
	var keep []uint64
	for p := range at {
		if m.needs(p) {
			keep = append(keep, p)
		}
	}
	log := m.w.j.Log
	of, err := journal.HashOf(log[len(log)-1].Head)
	m.w.Must(err)
	rec, err := m.Limit(m.w.Checkpoint(), journal.Limit{Snapshot: of, Days: 7, Keep: journal.Stretches(keep)})
	m.w.Must(err)
	m.w.offer(rec)
	m.sync()
}

// needs reports whether a file that is there was put by the entry at a position.
func (m *member) needs(p uint64) bool {
	for n := range m.Tree.All() {
		if n.Content.Position == p && n.Type != tree.Dir {
			return true
		}
	}
	return false
}

const later = int64(1) << 50 // every horizon is due

// fallow drops what the horizon lets go, and what else is named.
func (w *world) fallow(others ...uint64) (dropped int) {
	h := w.j.State.Horizon(later)
	for p, rec := range w.j.Log {
		also := false
		for _, o := range others {
			also = also || o == uint64(p)
		}
		if short, ok := journal.Drop(rec.Head, rec.Blob); ok && (h.Drops(uint64(p)) || also) {
			w.j.Log[p].Blob = short
			dropped++
		}
	}
	return dropped
}

// begin reads the journal as a newcomer does whose service has dropped.
func (m *member) begin(o objects) error {
	m.w.T.Helper()
	m.heads()
	m.w.Must(m.Follower.Accept(m.w.full(), &m.State.Tree))
	h := m.State.Horizon(later)
	if _, err := m.Replay(m.w.j.Log[0]); err != nil {
		return err
	}
	t, err := m.OpenHorizon(h, m.w.j.Log[h.Snapshot], o.get)
	if err != nil {
		return err
	}
	p := m.Prove(h, t)
	for at := range h.At {
		if err := p.Take(at, m.w.j.Log[at]); err != nil {
			return err
		}
	}
	if err := p.Done(); err != nil {
		return err
	}
	if err := m.Begin(h, t); err != nil {
		return err
	}
	for m.Replayed() < m.State.Size() {
		if _, err := m.Replay(m.w.j.Log[m.Replayed()]); err != nil {
			return err
		}
	}
	return m.Vouched()
}

// old is a region with some history, a snapshot of it and a horizon there: some
// files are edited over and over, some deleted, some left alone.
func old(t *testing.T) (*world, *member, objects) {
	w, a := newWorld(t)
	a.many(20)
	edit := func(name, target string) tree.Op {
		n, _ := a.Tree.Lookup(name)
		return tree.Op{Kind: tree.Edit, Node: n.ID, Type: tree.Link, Target: target, BaseContent: n.Content.Revision}
	}
	a.commit(edit("file 1", "one"))
	a.commit(edit("file 1", "two"))
	a.commit(edit("file 1", "three"))
	n, _ := a.Tree.Lookup("file 2")
	a.commit(tree.Op{Kind: tree.Delete, Node: n.ID, BasePlace: n.Place.Revision, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision})
	o := objects{}
	s := a.pin(o)
	a.limit(s.Position)
	a.commit(file("later"), edit("file 3", "new"))
	return w, a, o
}

func TestANewcomerBeginsAtTheHorizon(t *testing.T) {
	w, a, o := old(t)
	b := a.join("b")
	if n := w.fallow(); n != 3 {
		t.Errorf("dropped %d entries", n) // two edits and a delete
	}
	b.heads()
	if _, err := b.Replay(w.j.Log[0]); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; {
		if _, err = b.Replay(w.j.Log[b.Replayed()]); err != nil && !errors.Is(err, journal.ErrDropped) {
			t.Fatal(err)
		}
	}
	w.Must(b.begin(o))
	same(t, a, b)
	if b.Began().At == 0 || a.Began().At != 0 {
		t.Errorf("began at %v and %v", b.Began(), a.Began())
	}
	// It goes on as the others do.
	b.commit(file("of b"))
	a.sync()
	same(t, a, b)
}

func TestARetellingBeginsWhereTheTreeDid(t *testing.T) {
	w, a, o := old(t)
	b := a.join("b")
	w.fallow()
	w.Must(b.begin(o))
	again := b.Retell()
	if _, err := again.Replay(w.j.Log[0]); err != nil {
		t.Fatal(err)
	}
	h := b.State.Horizon(later)
	loaded, err := b.OpenHorizon(h, w.j.Log[h.Snapshot], o.get)
	w.Must(err)
	pages := func(yield func([]byte) bool) {
		for p := range loaded.Pages(tree.DigestKey(b.secret.DigestKey())) {
			if !yield(p) {
				return
			}
		}
	}
	again = b.Retell()
	if err := again.Begin(Start{At: h.At, Digest: signet.Hash{1}}, pages); !errors.Is(err, ErrDigest) {
		t.Errorf("another tree: %v", err)
	}
	w.Must(again.Begin(b.Began(), pages))
	for again.Next() < again.End() {
		_, err := again.Replay(w.j.Log[again.Next()])
		w.Must(err)
	}
	key := tree.DigestKey(b.secret.DigestKey())
	if again.Tree().Digest(key) != a.Tree.Digest(key) {
		t.Error("told again, it is another tree")
	}
}

// A device that is taken over signs a snapshot of a tree that never was, and a
// horizon there.
func TestAForgedSnapshotIsFoundOut(t *testing.T) {
	forge := func(t *testing.T, spoil func(t *tree.Tree)) (w *world, a, thief *member, o objects) {
		w, a = newWorld(t)
		thief = a.add("thief")
		a.many(20)
		a.commit()
		thief.sync()
		spoil(thief.Tree)
		o = objects{}
		thief.digests[thief.point] = thief.digest()
		s, err := thief.SealSnapshot(o.put)
		w.Must(err)
		rec, err := thief.CommitSnapshot(w.Checkpoint(), s)
		w.Must(err)
		w.offer(rec)
		thief.sync()
		return w, a, thief, o
	}
	t.Run("by who has replayed", func(t *testing.T) {
		_, a, _, _ := forge(t, func(tr *tree.Tree) {
			n, _ := tr.Lookup("file 1")
			b, _ := tree.NewBatch("", []tree.Item{item(t, tree.Op{Kind: tree.Delete, Node: n.ID, BasePlace: n.Place.Revision, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision})})
			tr.Apply(tree.Entry{Hash: signet.Hash{1}, Position: 1}, b)
		})
		if _, err := a.try(); !errors.Is(err, ErrDigest) {
			t.Errorf("a tree that lacks a file: %v", err)
		}
	})
	t.Run("by a newcomer", func(t *testing.T) {
		_, _, thief, o := forge(t, func(tr *tree.Tree) {
			b, _ := tree.NewBatch("", []tree.Item{item(t, file("never written"))})
			tr.Apply(tree.Entry{Hash: signet.Hash{1}, Position: 1, Time: 5}, b)
		})
		thief.limit(thief.snapshot.Position)
		b := thief.join("b")
		if err := b.begin(o); !errors.Is(err, ErrUnproved) {
			t.Errorf("a file that nobody wrote: %v", err)
		}
	})
	t.Run("as of an entry without effect", func(t *testing.T) {
		_, _, thief, o := forge(t, func(tr *tree.Tree) {
			b, _ := tree.NewBatch("", []tree.Item{item(t, file("never written"))})
			tr.Apply(tree.Entry{Hash: signet.Hash{1}, Position: 1 << 40, Time: 5}, b)
		})
		thief.limit(thief.snapshot.Position)
		b := thief.join("b")
		if err := b.begin(o); !errors.Is(err, ErrUnproved) {
			t.Errorf("%v", err)
		}
	})
}

func item(t *testing.T, op tree.Op) tree.Item {
	it, err := tree.NewItem(op)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// What a service drops that the horizon keeps is missed; and a horizon that does
// not keep enough leaves a newcomer without proof.
func TestWhatAFileNeedsMustBeThere(t *testing.T) {
	w, a, o := old(t)
	b := a.join("b")
	w.fallow(1) // where most files are from
	if err := b.begin(o); !errors.Is(err, journal.ErrDropped) {
		t.Errorf("began without what is kept: %v", err)
	}
	b.heads()
	h := *b.State.Horizon(later)
	h.Keep = nil
	tr, err := b.OpenHorizon(&h, w.j.Log[h.Snapshot], o.get)
	w.Must(err)
	p := b.Prove(&h, tr)
	for at := range h.At {
		w.Must(p.Take(at, w.j.Log[at]))
	}
	if err := p.Done(); !errors.Is(err, ErrUnproved) {
		t.Errorf("began without proof: %v", err)
	}
}

// The word of devices that are gone is not enough; that of one which is still
// there, and came to the same since, is.
func TestAHorizonNeedsADeviceThatIsStillThere(t *testing.T) {
	w, a, o := old(t)
	b := a.add("b")
	w.fallow()
	w.j.Now += 8 * 24 * 3600 * 1000 // within the grace it would be taken back
	b.revoke(a, b)
	b.sync()
	b.rekey()
	c := b.join("c")
	if err := c.begin(o); !errors.Is(err, ErrUnvouched) {
		t.Errorf("on the word of a revoked device: %v", err)
	}
	b.commit(file("of b"))
	w.Must(c.begin(o))
	same(t, b, c)
}

// A folder that was deleted before a horizon is moved after it, and lives again with a file whose
// entry is gone: the next horizon cannot keep that, and newcomers begin there all the
// same.
func TestWhatLivesAgainAfterItsEntryWasDropped(t *testing.T) {
	w, a := newWorld(t)
	dir, kid := file("dir"), file("kid")
	dir.Type, dir.Target, dir.Mode, kid.Parent = tree.Dir, "", 0o755, dir.Node
	a.commit(dir)
	a.commit(kid)
	n, _ := a.Tree.Node(dir.Node)
	a.commit(tree.Op{Kind: tree.Delete, Node: dir.Node, Whole: true, Complete: a.Replayed(), BasePlace: n.Place.Revision, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision})
	a.commit(file("other"))
	o := objects{}
	a.limit(a.pin(o).Position)
	w.j.Now += 8 * 24 * 3600 * 1000
	w.fallow()
	a.commit(tree.Op{Kind: tree.Move, Node: dir.Node, Name: "moved", BasePlace: n.Place.Revision})
	if !a.Tree.Live(kid.Node) {
		t.Fatal("it does not live again")
	}
	s := a.pin(o)
	kept, _ := a.Tree.Node(kid.Node)
	if h := w.j.State.Horizon(w.j.Now); !h.Drops(kept.Content.Position) {
		t.Fatalf("its entry is there: %+v", h)
	}
	var keep []uint64
	for p := range s.Position {
		if a.needs(p) && p != kept.Content.Position {
			keep = append(keep, p)
		}
	}
	of, err := journal.HashOf(w.j.Log[len(w.j.Log)-1].Head)
	w.Must(err)
	rec, err := a.Limit(w.Checkpoint(), journal.Limit{Snapshot: of, Days: 7, Keep: journal.Stretches(keep)})
	w.Must(err)
	w.offer(rec)
	a.sync()
	w.fallow()
	b := a.join("b")
	w.Must(b.begin(o))
	same(t, a, b)
	if b.Began().At != s.Position {
		t.Errorf("began at %d", b.Began().At)
	}
}
