package region

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
)

func same(t *testing.T, a, b *member) {
	t.Helper()
	if d := cmp.Diff(a.names(), b.names()); d != "" {
		t.Fatalf("trees differ: %s", d)
	}
	if a.digest() != b.digest() {
		t.Fatal("equal names, other digests")
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func TestTwoDevicesReplayToOneTree(t *testing.T) {
	w, a := newWorld(t)
	b := a.add("b")
	if b.Name() != "Documents" || b.Secret() == nil || !b.MayWrite() || b.Stale() {
		t.Fatalf("opened as %q", b.Name())
	}
	a.commit(file("x"), file("y"))
	b.sync()
	n, _ := b.Tree.Lookup("x")
	b.commit(tree.Op{Kind: tree.Edit, Node: n.ID, Type: tree.Link, BaseContent: n.Content.Revision, Target: "elsewhere"})
	steps := a.sync()
	if len(steps) != 1 || steps[0].Entry.Device != b.me.Device || len(steps[0].Events) != 1 || steps[0].Outcomes[0].Result != tree.Applied {
		t.Fatalf("steps %+v", steps)
	}
	same(t, a, b)
	if n, _ := a.Tree.Lookup("x"); n.Target != "elsewhere" {
		t.Fatalf("the edit was not replayed: %+v", n)
	}
	_ = w
}

func TestRacingDevicesClaimTheSameRegion(t *testing.T) {
	_, a := newWorld(t)
	b := a.add("b")
	claim := func(m *member, name string) signet.Hash {
		rec, id := m.make(name)
		s := journal.NewState(id, m.w.Directory())
		if _, err := s.Check(rec.Head, rec.Blob, m.w.Now+1); err != nil {
			t.Fatal(err)
		}
		hash, err := journal.HashOf(rec.Head)
		m.w.Must(err)
		if _, reason, err := s.Apply(journal.Leaf{Hash: hash, Time: m.w.Now + 1}, rec.Head, rec.Blob); reason != nil || err != nil {
			t.Fatal(reason, err)
		}
		return s.Founding().Claim
	}
	if claim(a, "Photos") != claim(b, "Photos") {
		t.Error("two devices of a ring claim a name differently")
	}
	if claim(a, "Photos") == claim(a, "Music") {
		t.Error("two names have one claim")
	}
}

func TestNothingIsWrittenUnderAStaleKey(t *testing.T) {
	w, a := newWorld(t)
	b, c := a.add("b"), a.add("c")
	a.commit(file("before"))
	c.sync()
	a.revoke(c, a, b)
	if !a.Stale() {
		t.Fatal("a device that holds the key was revoked, and it is not stale")
	}
	_, _, err := a.Commit(w.Checkpoint(), w.items(file("x")), nil)
	wants(t, err, signet.ErrStale)
	a.rekey()
	if a.Stale() || a.State.Current().Number != 2 {
		t.Fatalf("after a rekey: stale %v, generation %d", a.Stale(), a.State.Current().Number)
	}
	a.commit(file("after"))
	b.sync()
	same(t, a, b)
	b.commit(file("from b"))
	a.sync()
	same(t, a, b)

	// Who was revoked verifies the headers and opens nothing more.
	_, err = c.try()
	wants(t, err, ErrNoKey)
	wants(t, err, signet.ErrNotAllowed)
	if d := cmp.Diff([]string{"before"}, c.names()); d != "" {
		t.Error("a revoked device shows: " + d)
	}
}

func TestRekeyPassesAStaleRing(t *testing.T) {
	_, a := newWorld(t)
	b, c := a.add("b"), a.add("c")
	// c removes itself: its ring has no new generation yet, and is stale.
	c.revoke(c)
	if !b.me.RingStale(b.w.State) || !b.Stale() {
		t.Fatal("ring and region should be stale")
	}
	b.rekey()
	for _, e := range b.State.Current().Envelopes {
		if e.Kind != ring.ToDevice || signet.DeviceID(e.ID) == c.me.Device {
			t.Fatalf("sealed to %+v", e.Recipient)
		}
	}
	b.commit(file("x"))
	a.sync()
	same(t, a, b)

	// The ring gets its key; a later generation of the region rests on it, and
	// a newcomer, to whom nothing of generation 2 was sealed, gets there by the
	// back-link of generation 3.
	rec, err := a.me.RekeyRing(a.w.State, a.keys, a.w.Now+1)
	a.w.Must(err)
	a.w.Must(a.w.Put(rec.Head, rec.Blob))
	a.freshen()
	b.freshen()
	a.revoke(b, a)
	a.rekey()
	a.commit(file("y"))
	d := a.add("d")
	same(t, a, d)
	if len(d.seeds) != 3 {
		t.Errorf("%d generations open", len(d.seeds))
	}
}

func TestStrangerOpensNothing(t *testing.T) {
	w, a := newWorld(t)
	a.commit(file("x"))
	s := w.newMember("stranger", a)
	_, err := s.try()
	wants(t, err, ErrNoKey)
	if s.Tree.Len() != 0 || s.Secret() != nil || s.MayWrite() {
		t.Error("a stranger opened something")
	}
}

// spoiledRekey is a rekey whose envelopes hold another key, or another secret,
// than the entry commits to.
func (m *member) spoiledRekey(spoil func(seed **seal.Seed, secret **seal.Secret)) {
	m.w.T.Helper()
	prev, err := m.seed(m.State.Current().Number)
	m.w.Must(err)
	seed, err := seal.NewSeed(prev)
	m.w.Must(err)
	k := &journal.NewKey{Number: m.State.Current().Number + 1, Public: seed.Public()}
	k.BackLink, err = seal.SealBack(m.back(k.Number), seed, prev)
	m.w.Must(err)
	secret := m.secret
	spoil(&seed, &secret)
	k.Envelopes, err = sealAll(m.dir.State, m.self, m.ID(), k.Number, m.State.Recipients(m.dir.Size()), seed, secret)
	m.w.Must(err)
	d, err := m.draft(journal.Rekey, m.w.Checkpoint())
	m.w.Must(err)
	d.Generation, d.Body = k.Number, k.Append(nil)
	rec, _, err := d.Sign(m.me.Signer)
	m.w.Must(err)
	m.w.offer(rec)
	m.sync()
	m.seeds[k.Number] = seed
}

func TestForgedEnvelopeIsNotVerified(t *testing.T) {
	for name, spoil := range map[string]func(**seal.Seed, **seal.Secret){
		"another key":    func(s **seal.Seed, _ **seal.Secret) { *s, _ = seal.NewSeed(nil) },
		"another secret": func(_ **seal.Seed, s **seal.Secret) { *s = seal.NewSecret() },
	} {
		t.Run(name, func(t *testing.T) {
			_, a := newWorld(t)
			b := a.add("b")
			a.spoiledRekey(spoil)
			a.commit(file("x"))
			_, err := b.try()
			wants(t, err, signet.ErrNotVerified)
			if !strings.Contains(err.Error(), a.me.Device.String()) {
				t.Errorf("does not name who gave the key: %v", err)
			}
		})
	}
}

func TestDigestThatDiffersNamesBothDevices(t *testing.T) {
	w, a := newWorld(t)
	b := a.add("b")
	a.commit(file("x"))
	a.commit() // a point
	b.sync()
	if a.point != 3 || b.digests[3] != a.digests[3] || a.digests[3] == (signet.Hash{}) {
		t.Fatalf("points %d and %d", a.point, b.point)
	}
	// An honest entry states it, and nobody minds.
	b.commit(file("y"))
	if e := a.sync()[0].Entry; e.DigestAt != 3 || e.Digest != a.digests[3] {
		t.Fatalf("no digest stated: %+v", e.Header)
	}
	d, err := b.draft(journal.Content, w.Checkpoint())
	w.Must(err)
	d.Digest[0] ^= 1
	rec, _, err := d.Sign(b.me.Signer)
	w.Must(err)
	w.offer(rec)
	_, err = a.try()
	wants(t, err, ErrDigest)
	wants(t, err, signet.ErrNotVerified)
	for _, m := range []*member{a, b} {
		if !strings.Contains(err.Error(), m.me.Device.String()) {
			t.Errorf("does not name %s: %v", m.me.Label, err)
		}
	}
}

func TestNonsenseOfAWriterIsSkippedAlike(t *testing.T) {
	for name, spoil := range map[string]func(m *member, d *journal.Draft){
		"not sealed": func(_ *member, d *journal.Draft) { d.Sealed = []byte("nonsense") },
		"sealed for another region": func(m *member, d *journal.Draft) {
			seed, _ := m.seed(1)
			d.Sealed, _ = seal.SealOps(seed, opsContext(m.me.Org, signet.RegionID{1}, m.me.Device, 1, journal.Content), m.batch(d, file("x")))
		},
		"not operations": func(m *member, d *journal.Draft) {
			seed, _ := m.seed(1)
			d.Sealed, _ = seal.SealOps(seed, opsContext(m.me.Org, m.ID(), m.me.Device, 1, journal.Content), []byte("nonsense"))
		},
		"more operations than the header says": func(m *member, d *journal.Draft) {
			seed, _ := m.seed(1)
			plain := m.batch(d, file("x"), file("y"))
			d.Count = 1
			d.Sealed, _ = seal.SealOps(seed, opsContext(m.me.Org, m.ID(), m.me.Device, 1, journal.Content), plain)
		},
		"other operations than the header says": func(m *member, d *journal.Draft) {
			seed, _ := m.seed(1)
			plain := m.batch(d, file("x"))
			d.Root[0] ^= 1
			d.Sealed, _ = seal.SealOps(seed, opsContext(m.me.Org, m.ID(), m.me.Device, 1, journal.Content), plain)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, a := newWorld(t)
			b := a.add("b")
			d, err := b.draft(journal.Content, w.Checkpoint())
			w.Must(err)
			d.Count, d.Root = 1, signet.Hash{1}
			spoil(b, d)
			rec, _, err := d.Sign(b.me.Signer)
			w.Must(err)
			w.offer(rec)
			for _, m := range []*member{a, b} {
				steps := m.sync()
				if s := steps[0]; s.Entry == nil || s.Unopened == nil || s.Batch != nil || s.Outcomes != nil {
					t.Fatalf("%s took %+v", m.me.Label, s)
				} else if !strings.Contains(s.Unopened.Error(), b.me.Device.String()) {
					t.Errorf("does not name the writer: %v", s.Unopened)
				}
			}
			b.commit(file("sense"))
			a.sync()
			same(t, a, b)
		})
	}
}

// batch is the plaintext of operations; it completes d's header.
func (m *member) batch(d *journal.Draft, ops ...tree.Op) []byte {
	m.w.T.Helper()
	b, err := tree.NewBatch(m.me.Label, m.w.items(ops...))
	m.w.Must(err)
	d.Count, d.Root = uint16(len(ops)), b.Root()
	return b.Bytes()
}

func TestReplayWantsWhatWasVerified(t *testing.T) {
	w, a := newWorld(t)
	b := a.add("b")
	if _, err := b.Replay(signet.Record{}); err == nil {
		t.Error("replayed what was never taken")
	}
	a.commit(file("x"))
	a.commit(file("y"))
	for _, rec := range w.j.Log[b.State.Size():] {
		rec.Blob = nil // headers first
		if e, reason, err := b.Take(rec); e == nil || reason != nil || err != nil {
			t.Fatal(e, reason, err)
		}
	}
	at := b.Replayed()
	for name, rec := range map[string]signet.Record{
		"another entry": w.j.Log[at+1],
		"no parts":      {Leaf: w.j.Log[at].Leaf, Head: w.j.Log[at].Head},
		"other parts":   {Leaf: w.j.Log[at].Leaf, Head: w.j.Log[at].Head, Blob: w.j.Log[at+1].Blob},
		"another leaf":  {Leaf: w.j.Log[at+1].Leaf, Head: w.j.Log[at].Head, Blob: w.j.Log[at].Blob},
	} {
		if _, err := b.Replay(rec); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("%s: %v", name, err)
		}
		if b.Replayed() != at {
			t.Fatalf("%s: counted as replayed", name)
		}
	}
	b.sync()
	same(t, a, b)
	if _, _, err := b.Take(signet.Record{Leaf: []byte("short")}); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("a leaf of five bytes: %v", err)
	}
}

func TestSealedRecordsOpenForTheRingAlone(t *testing.T) {
	w, a := newWorld(t)
	b := a.join("b")
	raw, err := a.me.SealRecord(a.keys, b.me.Device, 3, []byte("laptop"))
	w.Must(err)
	a.revoke(b, a) // another generation: records of the old one still open
	r, text, err := OpenRecord(w.State, a.keys, raw)
	if err != nil || string(text) != "laptop" || r.Version != 3 || r.Generation != 1 {
		t.Fatalf("%+v %q %v", r, text, err)
	}
	for i := range raw {
		bad := append([]byte(nil), raw...)
		bad[i] ^= 1
		if _, text, err := OpenRecord(w.State, a.keys, bad); err == nil {
			t.Fatalf("byte %d altered, opened to %q", i, text)
		}
	}
	newer, err := a.me.SealRecord(a.keys, a.me.Device, 1, []byte("desk"))
	w.Must(err)
	if _, _, err := OpenRecord(w.State, b.keys, newer); !errors.Is(err, ErrNoKey) {
		t.Errorf("a revoked device opened a later record: %v", err)
	}
}

func TestObjectsOfAnEntryAreNamed(t *testing.T) {
	w, a := newWorld(t)
	ids := []signet.ObjectID{{1}, {2}}
	rec, hash, err := a.Commit(w.Checkpoint(), nil, ids)
	w.Must(err)
	w.offer(rec)
	s := a.sync()[0]
	if fmt.Sprint(s.Entry.Objects) != fmt.Sprint(ids) || s.Entry.Hash != hash || a.point == a.replayed {
		t.Errorf("entry %+v", s.Entry)
	}
}
