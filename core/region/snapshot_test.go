package region

import (
	"errors"
	"fmt"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/seal"
	"signet/core/tree"
)

// objects is what the service stores.
type objects map[signet.ObjectID][]byte

func (o objects) put(object []byte, id signet.ObjectID) error {
	o[id] = append([]byte(nil), object...)
	return nil
}

func (o objects) get(ref seal.Ref) ([]byte, error) { return seal.OpenPiece(nil, ref, o[ref.Object]) }

// pin writes a point and a snapshot of it.
func (m *member) pin(o objects) *Snapshot {
	m.w.T.Helper()
	m.commit()
	s, err := m.SealSnapshot(o.put)
	m.w.Must(err)
	rec, err := m.CommitSnapshot(m.w.Checkpoint(), s)
	m.w.Must(err)
	m.w.offer(rec)
	m.sync()
	return s
}

// heads takes the journal without replaying it.
func (m *member) heads() {
	m.w.T.Helper()
	m.Region = New(m.w.j.ID, m.w.Directory(), &m.me, func() *Keys { return m.keys })
	for _, rec := range m.w.j.Log {
		_, _, err := m.Take(rec)
		m.w.Must(err)
	}
}

func (m *member) load(o objects) (*tree.Tree, uint64, error) {
	m.w.T.Helper()
	at, ok := m.Newest()
	if !ok {
		m.w.T.Fatal("no snapshot")
	}
	return m.LoadSnapshot(m.w.j.Log[at], o.get)
}

// many commits n files.
func (m *member) many(n int) {
	var ops []tree.Op
	for i := range n {
		ops = append(ops, file(fmt.Sprintf("file %d", i)))
	}
	m.commit(ops...)
}

func TestSnapshotIsTheTreeAtItsPoint(t *testing.T) {
	_, a := newWorld(t)
	a.many(500)
	o := objects{}
	s := a.pin(o)
	a.commit(file("later"))
	b := a.join("b")
	b.heads()
	got, at, err := b.load(o)
	if err != nil {
		t.Fatal(err)
	}
	if at != s.Position || got.Len() != 500 || got.Digest(tree.DigestKey(a.secret.DigestKey())) != s.Digest {
		t.Fatalf("at %d, %d nodes", at, got.Len())
	}
	refs, err := b.SnapshotPages(b.snapshot.entry.Position, b.w.j.Log[b.snapshot.entry.Position])
	if err != nil || len(refs) != len(s.Pages) || len(refs) != len(o) {
		t.Fatalf("%d pages, %v", len(refs), err)
	}
	// The replay that follows comes to the same.
	b.open()
	same(t, a, b)
}

func TestSnapshotOffAPointIsRefused(t *testing.T) {
	_, a := newWorld(t)
	if a.Ready() {
		t.Error("ready at no point")
	}
	if _, err := a.SealSnapshot(objects{}.put); err == nil {
		t.Error("sealed at no point")
	}
	a.commit()
	a.commit(file("x"))
	if a.Ready() {
		t.Error("ready behind a point")
	}
}

func TestAlteredSnapshotIsRefused(t *testing.T) {
	_, a := newWorld(t)
	a.many(50)
	old := objects{}
	a.pin(old)
	oldRefs, _ := a.SnapshotPages(a.snapshot.entry.Position, a.w.j.Log[a.snapshot.entry.Position])
	a.many(60) // the same names again: conflict copies, another tree
	o := objects{}
	a.pin(o)
	b := a.join("b")
	b.heads()
	at, _ := b.Newest()
	rec := b.w.j.Log[at]

	for id := range o {
		o[id][len(o[id])/2] ^= 1
	}
	if _, _, err := b.load(o); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("altered objects: %v", err)
	}
	older := func(seal.Ref) ([]byte, error) { return old.get(oldRefs[0]) }
	if _, _, err := b.LoadSnapshot(rec, older); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("the pages of an older one: %v", err)
	}
	for name, page := range map[string][]byte{"nothing": nil, "nonsense": []byte("nonsense, not a page")} {
		if _, _, err := b.LoadSnapshot(rec, func(seal.Ref) ([]byte, error) { return page, nil }); err == nil {
			t.Errorf("%s was loaded", name)
		}
	}
	if _, _, err := b.LoadSnapshot(b.w.j.Log[1], o.get); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("another entry as the snapshot's: %v", err)
	}
	gone := errors.New("gone")
	if _, _, err := b.LoadSnapshot(rec, func(seal.Ref) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("missing objects: %v", err)
	}
}

func TestSnapshotOfAnotherRingOrARevokedDeviceIsNotUsed(t *testing.T) {
	_, a := newWorld(t)
	b := a.add("b")
	b.pin(objects{})
	a.sync()
	if at, ok := a.Newest(); !ok || at != b.snapshot.entry.Position {
		t.Fatalf("not the one of our own ring: %d %v", at, ok)
	}
	a.revoke(b, a)
	if _, ok := a.Newest(); ok {
		t.Error("a snapshot by a revoked device is used")
	}
	a.snapshot = nil
	a.noteSnapshot(&journal.Entry{Header: journal.Header{Ring: signet.RingID{1}, Device: a.me.Device, DigestAt: 1}})
	if _, ok := a.Newest(); ok {
		t.Error("a snapshot by another ring is used")
	}
	a.noteSnapshot(&journal.Entry{Header: journal.Header{Ring: a.me.Ring, Device: a.me.Device}})
	if _, ok := a.Newest(); ok {
		t.Error("a snapshot of no point is used")
	}
}

func TestSnapshotIsWantedOnceForWhatItSpares(t *testing.T) {
	_, a := newWorld(t)
	for i := range SnapshotEvery/900 + 1 {
		var ops []tree.Op
		for n := range 900 {
			ops = append(ops, file(fmt.Sprintf("%d %d", i, n)))
		}
		a.commit(ops...)
	}
	if !a.WantsPoint() {
		t.Fatal("not wanted after so many operations")
	}
	a.pin(objects{})
	if a.WantsPoint() {
		t.Error("wanted again at once")
	}
	// One who verified all headers first, and replays now, wants none either.
	b := a.join("b")
	b.heads()
	b.sync()
	same(t, a, b)
	if b.WantsPoint() {
		t.Error("a newcomer wants one more, though there is one")
	}
}
