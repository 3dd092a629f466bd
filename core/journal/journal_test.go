package journal_test

import (
	"bytes"
	"errors"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
)

// start is a ring of devices a and b, and a region of it.
func start(t testing.TB) (*ringtest.World, signet.RingID, *ringtest.Journal) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b")
	return w, r, w.Region(r, "a")
}

// refused offers a record to an honest service, which must refuse it, and then
// has a service that does not check order it: no replica may give it effect.
func refused(t *testing.T, j *ringtest.Journal, what string, rec signet.Record, want error) {
	t.Helper()
	if _, err := j.Offer(rec); !errors.Is(err, want) {
		t.Errorf("%s: the service says %v, want %v", what, err, want)
	}
	ignored(t, j, what, rec, want)
}

func ignored(t *testing.T, j *ringtest.Journal, what string, rec signet.Record, want error) {
	t.Helper()
	latest, invalid, dir := j.State.Latest(), j.State.Invalid(), j.State.DirectorySize()
	e, reason, err := j.Force(rec)
	switch {
	case err != nil:
		t.Errorf("%s: the replay stops: %v", what, err)
	case e != nil || !errors.Is(reason, want):
		t.Errorf("%s: a replica says %v, want %v", what, reason, want)
	case j.State.Latest() != latest || j.State.Invalid() != invalid+1 || j.State.DirectorySize() != dir:
		t.Errorf("%s: had an effect", what)
	}
}

// same fails unless all replicas, with and without contents, agree with the
// service.
func same(t *testing.T, j *ringtest.Journal, devices ...string) {
	t.Helper()
	whole, headers := j.Replay(j.Directory(), true), j.Replay(j.Directory(), false)
	for name, r := range map[string]ringtest.Replica{"whole": whole, "headers": headers} {
		if r.State.Tree.Root() != j.State.Tree.Root() || r.State.Latest() != j.State.Latest() || r.State.Invalid() != j.State.Invalid() ||
			r.State.DirectorySize() != j.State.DirectorySize() || len(r.State.Generations()) != len(j.State.Generations()) {
			t.Errorf("replay (%s) differs from the service", name)
		}
		for _, d := range devices {
			if r.State.Own(j.World.ID(d)) != j.State.Own(j.World.ID(d)) {
				t.Errorf("replay (%s) differs in the chain of %s", name, d)
			}
		}
	}
	for i := range whole.Valid {
		if whole.Valid[i] != headers.Valid[i] {
			t.Errorf("entry %d: valid with its parts %v, without %v", i, whole.Valid[i], headers.Valid[i])
		}
	}
}

func TestLifeOfARegion(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	j.Draw("a b b a b a!")
	if j.State.StaleAt(w.State.Size()) {
		t.Error("stale before anybody left")
	}
	w.Draw(r, "b-c")
	if !j.State.StaleAt(w.State.Size()) {
		t.Error("a device left: not stale")
	}
	if _, err := j.Offer(j.Sign(j.Draft(journal.Content, "a"), "a")); !errors.Is(err, signet.ErrStale) {
		t.Errorf("written under a stale generation: %v", err)
	}
	j.Draw("b* a b b! a")
	if n := j.State.Current().Number; n != 2 || j.State.StaleAt(w.State.Size()) || j.State.Invalid() != 0 {
		t.Errorf("generation %d, %d invalid", n, j.State.Invalid())
	}
	if !j.State.MayRead(w.ID("b"), w.Now) || j.State.MayRead(w.ID("c"), w.Now) || j.State.MayRead(w.ID("x"), w.Now) {
		t.Error("who may read")
	}
	same(t, j, "a", "b")
}

func TestASingleWriterPassesAStaleRing(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	w.Must(w.SignOut(r, "c"))
	to := j.State.Recipients(w.State.Size())
	if len(to) != 2 || to[0].Kind != ring.ToDevice || to[1].Kind != ring.ToDevice {
		t.Fatalf("recipients past a stale ring: %v", to)
	}
	j.Draw("b* a b")
	w.Device("web").Class = ring.Browser
	w.Draw(r, "a*")
	w.Draw(r, "a+web")
	if j.State.StaleAt(w.State.Size()) {
		t.Error("stale though nobody left since")
	}
	w.Draw(r, "a-b")
	if !j.State.StaleAt(w.State.Size()) {
		t.Error("a device that has an envelope left: not stale")
	}
	j.Draw("a* a")
	if j.State.Current().Envelopes[0].Kind != ring.ToRing {
		t.Error("the ring is fresh, and is passed all the same")
	}
	same(t, j, "a", "b")
}

func TestABrowserThatSignedOutLeavesARegionFresh(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Device("web").Class = ring.Browser
	w.Draw(r, "a+web a+b b.")
	j := w.Region(r, "a") // past the stale ring: to a and web
	w.Draw(r, "web.")
	if j.State.StaleAt(w.State.Size()) {
		t.Error("a browser's sign-out made the region stale")
	}
}

func TestSignaturesCount(t *testing.T) {
	_, _, j := start(t)
	d := j.Draft(journal.Content, "a")
	good := j.Sign(d, "a")
	refused(t, j, "signed by another device", j.Sign(d, "b"), signet.ErrNotVerified)
	for _, i := range signatureBytes(good.Head) {
		bad := signet.Record{Head: bytes.Clone(good.Head), Blob: good.Blob}
		bad.Head[i] ^= 1
		refused(t, j, "a bit of the signature flipped", bad, signet.ErrNotVerified)
	}
	unsigned := signet.Record{Head: bytes.Clone(good.Head), Blob: good.Blob}
	at := signatureBytes(good.Head)
	clear(unsigned.Head[at[0] : at[1]+1])
	refused(t, j, "unsigned", unsigned, signet.ErrNotVerified)
	refused(t, j, "an authority entry with half its signatures", halved(j), signet.ErrNotVerified)
	stranger := j.Draft(journal.Content, "x")
	stranger.Ring = d.Ring
	refused(t, j, "by a device that nobody knows", j.Sign(stranger, "x"), signet.ErrNotAllowed)
	if _, err := j.Offer(good); err != nil {
		t.Errorf("the good one after all these: %v", err)
	}
	same(t, j, "a", "b")
}

// signatureBytes is the first and last position of the signature in a head.
func signatureBytes(head []byte) [2]int {
	n := 2 + (int(head[0])<<8 | int(head[1]))
	return [2]int{n + 2, n + 2 + (int(head[n])<<8 | int(head[n+1])) - 1}
}

// halved is a marker with the Ed25519 signature alone.
func halved(j *ringtest.Journal) signet.Record {
	rec := j.Sign(j.Draft(journal.Marker, "a"), "a")
	at := signatureBytes(rec.Head)
	head := append(bytes.Clone(rec.Head[:at[0]-2]), 0, 64)
	head = append(head, rec.Head[at[0]:at[0]+64]...)
	rec.Head = append(head, rec.Head[at[1]+1:]...)
	return rec
}

// A service cannot make one device pass over an entry that others have: the
// leaf binds all that the verdict depends on.
func TestASpoiledRecordIsAnAlarmNotAVerdict(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c")
	j.Draw("a a*")
	for position, rec := range j.Log {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		w.Must(err)
		for what, bad := range map[string]signet.Record{
			"signature":            {Head: flip(rec.Head, signatureBytes(rec.Head)[0]+5), Blob: rec.Blob},
			"directory checkpoint": {Head: flip(rec.Head, len(rec.Head)-9), Blob: rec.Blob},
			"blob":                 {Head: rec.Head, Blob: flip(rec.Blob, len(rec.Blob)-1)},
			"framing of the blob":  {Head: rec.Head, Blob: rec.Blob[:len(rec.Blob)-1]},
			"blob of another":      {Head: rec.Head, Blob: j.Log[(position+1)%len(j.Log)].Blob},
			"head":                 {Blob: rec.Blob},
		} {
			s := journal.NewState(j.ID, j.Directory())
			for _, before := range j.Log[:position] {
				l, err := journal.ParseLeaf(before.Leaf)
				w.Must(err)
				_, _, err = s.Apply(l, before.Head, before.Blob)
				w.Must(err)
			}
			if _, _, err := s.Apply(leaf, bad.Head, bad.Blob); !errors.Is(err, signet.ErrNotVerified) || s.Size() != uint64(position) {
				t.Errorf("entry %d, %s: %v, size %d", position, what, err, s.Size())
			}
			if _, reason, err := s.Apply(leaf, rec.Head, rec.Blob); reason != nil || err != nil {
				t.Errorf("entry %d cannot be taken after its spoiled copy: %v, %v", position, reason, err)
			}
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestAReplicaWithoutTheRootWaits(t *testing.T) {
	_, _, j := start(t)
	s := journal.NewState(j.ID, journal.Directory{State: ring.NewState(signet.OrgID{}), Tree: &chain.Tree{}})
	leaf, err := journal.ParseLeaf(j.Log[0].Leaf)
	j.Must(err)
	if _, _, err := s.Apply(leaf, j.Log[0].Head, j.Log[0].Blob); !errors.Is(err, journal.ErrNeedDirectory) {
		t.Errorf("with an empty directory: %v", err)
	}
	// Nor does an entry that says it is of no organisation harm anybody.
	d := j.Draft(journal.Content, "a")
	d.Org = signet.OrgID{}
	zero, err := chain.Sign(j.Service, signet.Directory(signet.OrgID{}), 0, (&chain.Tree{}).Root(), 1, true)
	j.Must(err)
	d.Dir = zero
	rec := j.Sign(d, "a")
	if _, err := s.Check(rec.Head, rec.Blob, 1); !errors.Is(err, journal.ErrNeedDirectory) {
		t.Errorf("an entry of no organisation: %v", err)
	}
}

func TestAReplicaWhoseDirectoryIsBehindWaits(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	j.Draw("a c")
	s := journal.NewState(j.ID, w.DirectoryAt(3))
	var stopped error
	for _, rec := range j.Log {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		w.Must(err)
		if _, _, stopped = s.Apply(leaf, rec.Head, rec.Blob); stopped != nil {
			break
		}
	}
	if !errors.Is(stopped, journal.ErrNeedDirectory) || s.Size() != 1 {
		t.Errorf("%v at %d", stopped, s.Size())
	}
}

func TestAWithheldRingStopsTheReplay(t *testing.T) {
	w := ringtest.New(t)
	w.Found("a")
	m := w.Member("a", "m")
	j := w.Region(m, "m")
	dir := w.DirectoryAt(2)
	leaf, err := ring.ParseLeaf(w.Log[2].Leaf)
	w.Must(err)
	w.Must(dir.State.Apply(leaf, nil, nil))
	dir.Tree = &w.Tree
	s := journal.NewState(j.ID, dir)
	jl, err := journal.ParseLeaf(j.Log[0].Leaf)
	w.Must(err)
	if _, reason, err := s.Apply(jl, j.Log[0].Head, j.Log[0].Blob); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("the writer's ring is withheld: %v, %v", reason, err)
	}
}

func TestTheRevokedWriteNothing(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c")
	j.Draw("b a b")
	old := w.Checkpoint()
	before := j.Draft(journal.Content, "b")
	w.Draw(r, "a-b")

	d := j.Draft(journal.Content, "b")
	rec := j.Sign(d, "b")
	refused(t, j, "it names the head that revokes it", rec, signet.ErrNotAllowed)

	// With the service's help, under a head from before: the service says no,
	// replicas cannot know, and flag it.
	d = j.Draft(journal.Content, "b")
	d.Dir, d.Seen = old, before.Seen
	rec = j.Sign(d, "b")
	if _, err := j.Offer(rec); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("back-dated, at the service: %v", err)
	}
	e, reason, err := j.Force(rec)
	if reason != nil || err != nil || !e.BackDated {
		t.Fatalf("back-dated before a marker must be taken and flagged: %v, %v", reason, err)
	}
	if back := j.Replay(w.Directory(), true).Back; back[1] || back[3] || !back[len(back)-1] {
		t.Errorf("flagged: %v; what it wrote while it was a member is not back-dated", back)
	}

	j.Draw("a!")
	d = j.Draft(journal.Content, "b")
	d.Dir = old
	refused(t, j, "back-dated after a marker", j.Sign(d, "b"), signet.ErrNotAllowed)
	d = j.Draft(journal.Marker, "b")
	d.Dir = old
	refused(t, j, "its marker", j.Sign(d, "b"), signet.ErrNotAllowed)
	k := j.RekeyTo("b", []ring.Recipient{{Kind: ring.ToRing, ID: r, Generation: 1}})
	k.Dir = old
	refused(t, j, "its rekey", j.Sign(k, "b"), signet.ErrNotAllowed)
	j.Draw("c* a")
	same(t, j, "a", "b", "c")
}

// Content entries tell the directory's head to content entries only: a new
// device verifies authority from the sub-chain alone.
func TestAuthorityCountsAuthorityEntriesOnly(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c")
	old := w.Checkpoint()
	to := j.State.Recipients(w.State.Size())
	w.Draw(r, "a-b")
	k := j.Draft(journal.Content, "a")
	k.Generation = 1
	rec := j.Sign(k, "a")
	refused(t, j, "content under the stale generation", rec, signet.ErrStale)
	if j.State.DirectorySize() >= w.State.Size() {
		t.Fatal("an invalid entry told the journal a head")
	}
	d := j.RekeyTo("b", to)
	d.Dir = old
	e, reason, err := j.Force(j.Sign(d, "b"))
	if err != nil || reason != nil || e.Void != nil {
		t.Fatalf("no authority entry told the revocation yet: %v, %v", reason, err)
	}
	if !j.State.StaleAt(w.State.Size()) {
		t.Error("the key that the revoked device made for itself is not stale")
	}
	j.Draw("c* c")
	d = j.RekeyTo("b", to)
	d.Dir = old
	refused(t, j, "its rekey after an honest one", j.Sign(d, "b"), signet.ErrNotAllowed)
	same(t, j, "a", "b", "c")
}

func TestGenerationsCount(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	lagging := j.Draft(journal.Content, "a")
	w.Draw(r, "a-c")
	j.Draw("b*")
	refused(t, j, "under the generation before, which a lagging device had", j.Sign(lagging, "a"), signet.ErrStale)
	d := j.Draft(journal.Content, "a")
	d.Generation = 3
	refused(t, j, "under one that is not made yet", j.Sign(d, "a"), signet.ErrStale)
	d = j.Draft(journal.Marker, "a")
	d.Generation = 1
	refused(t, j, "a marker under an old one", j.Sign(d, "a"), signet.ErrStale)
	same(t, j, "a", "b")
}

// The service knows of a revocation before the journal does.
func TestTheServiceRefusesWhatReplicasCannot(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	old, oldRekey := j.Draft(journal.Content, "a"), j.Rekey("a")
	w.Draw(r, "b-c")
	if _, err := j.Offer(j.Sign(old, "a")); !errors.Is(err, signet.ErrStale) {
		t.Errorf("content under a generation that the service knows to be stale: %v", err)
	}
	if _, err := j.Offer(j.Sign(oldRekey, "a")); !errors.Is(err, signet.ErrStale) {
		t.Errorf("a key for a device that the service knows to be gone: %v", err)
	}
	if _, err := j.State.Check(j.Log[0].Head, nil, w.Now); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("an entry without its parts: %v", err)
	}
	if _, reason, err := j.Force(j.Sign(old, "a")); reason != nil || err != nil {
		t.Errorf("replicas must take it: %v, %v", reason, err)
	}
	same(t, j, "a", "b")
}

func TestADeviceHasOneChain(t *testing.T) {
	_, _, j := start(t)
	first := j.Draft(journal.Content, "a")
	rec := j.Sign(first, "a")
	other := j.Sign(j.Draft(journal.Content, "a"), "a") // the same previous, another operation
	if _, err := j.Offer(rec); err != nil {
		t.Fatal(err)
	}
	refused(t, j, "the same entry again", rec, signet.ErrConflict)
	refused(t, j, "a fork of its own chain", other, signet.ErrConflict)
	d := j.Draft(journal.Content, "a")
	d.Own = signet.Hash{}
	refused(t, j, "a second beginning", j.Sign(d, "a"), signet.ErrConflict)
	j.Draw("b")
	d = j.Draft(journal.Content, "a")
	d.Own = j.State.Own(j.World.ID("b"))
	refused(t, j, "after another device's entry", j.Sign(d, "a"), signet.ErrConflict)
	d = j.Draft(journal.Content, "a")
	d.Own = signet.Hash{1}
	refused(t, j, "after an entry that is not there", j.Sign(d, "a"), signet.ErrConflict)
	same(t, j, "a", "b")
}

// pipeline signs n entries of a device, each naming the one before.
func pipeline(j *ringtest.Journal, by string, n int) []signet.Record {
	var list []signet.Record
	d := j.Draft(journal.Content, by)
	for range n {
		next := j.Draft(journal.Content, by)
		next.Own = d.Own
		rec := j.Sign(next, by)
		list = append(list, rec)
		var err error
		d.Own, err = journal.HashOf(rec.Head)
		j.Must(err)
	}
	return list
}

func TestWhatHangsOnAnInvalidEntryIsInvalid(t *testing.T) {
	_, _, j := start(t)
	p := pipeline(j, "a", 3)
	bad := signet.Record{Head: flip(p[0].Head, signatureBytes(p[0].Head)[0]), Blob: p[0].Blob}
	ignored(t, j, "the first, spoiled", bad, signet.ErrNotVerified)
	refused(t, j, "what follows it", p[1], signet.ErrConflict)
	refused(t, j, "and what follows that", p[2], signet.ErrConflict)
	for _, rec := range p {
		if _, err := j.Offer(rec); err != nil {
			t.Fatalf("the pipeline itself: %v", err)
		}
	}
	same(t, j, "a")
}

func TestEntriesAreOfOneRegionAndOneOrganisation(t *testing.T) {
	w, r, j := start(t)
	w.Now += 50
	other := &ringtest.Journal{World: w}
	f := w.Founding(r, "a")
	f.Body = (&journal.Founding{Claim: signet.Hash{7}, SecretCommit: signet.Hash{7}, Envelopes: mustFounding(t, j).Envelopes}).Append(nil)
	rec, hash, err := f.Sign(w.Signer("a"))
	w.Must(err)
	other.ID = signet.RegionID(hash)
	other.State = journal.NewState(other.ID, w.Directory())
	if _, err := other.Offer(rec); err != nil {
		t.Fatal(err)
	}
	refused(t, j, "the genesis of another region", rec, signet.ErrConflict)
	refused(t, j, "the genesis twice", j.Log[0], signet.ErrConflict)
	other.Draw("a b")
	for _, rec := range other.Log[1:] {
		refused(t, j, "an entry of another region", rec, signet.ErrNotVerified)
	}
	d := j.Draft(journal.Content, "a")
	d.Org[3] ^= 1
	refused(t, j, "an entry of another organisation", j.Sign(d, "a"), signet.ErrNotVerified)

	m := w.Member("a", "m")
	d = j.Draft(journal.Content, "m")
	refused(t, j, "by a member who has no role", j.Sign(d, "m"), signet.ErrNotAllowed)
	d.Ring = r
	refused(t, j, "by a member who says he is of the owner's ring", j.Sign(d, "m"), signet.ErrNotAllowed)
	d = j.Draft(journal.Content, "a")
	d.Ring = m
	refused(t, j, "by a device in another ring's name", j.Sign(d, "a"), signet.ErrNotAllowed)
	same(t, j, "a", "b")
	same(t, other, "a", "b")
}

func mustFounding(t *testing.T, j *ringtest.Journal) *journal.Founding {
	f := j.State.Founding()
	if f == nil {
		t.Fatal("no genesis")
	}
	return f
}

func TestAMemberCannotInventAHead(t *testing.T) {
	w, r, j := start(t)
	j.Draw("a b a")
	own := func(log signet.LogID, size uint64, root signet.Hash) *chain.Checkpoint {
		c, err := chain.Sign(w.Signer("a"), log, size, root, w.Now, true)
		w.Must(err)
		return c
	}
	spoil := func(f func(d *journal.Draft)) signet.Record {
		d := j.Draft(journal.Content, "a")
		f(d)
		return j.Sign(d, "a")
	}
	refused(t, j, "an observed head that the member signed", spoil(func(d *journal.Draft) {
		d.Seen = own(signet.Journal(j.ID), 2, signet.Hash{1})
	}), signet.ErrNotVerified)
	refused(t, j, "a directory head that the member signed", spoil(func(d *journal.Draft) {
		d.Dir = own(signet.Directory(w.State.Org()), 2, signet.Hash{1})
	}), signet.ErrNotVerified)
	refused(t, j, "the observed head of another log", spoil(func(d *journal.Draft) { d.Seen = w.Checkpoint() }), signet.ErrNotVerified)
	refused(t, j, "the directory head of another log", spoil(func(d *journal.Draft) { d.Dir = j.Checkpoint() }), signet.ErrNotVerified)
	good := j.Sign(j.Draft(journal.Content, "a"), "a")
	noise := signet.Record{Head: bytes.Clone(good.Head), Blob: good.Blob}
	copy(noise.Head[signatureBytes(good.Head)[1]+3:], "noise noise noise")
	refused(t, j, "noise for an observed head", noise, signet.ErrNotVerified)
	refused(t, j, "no observed head", stripSeen(good), signet.ErrNotVerified)
	// True checkpoints, but not those whose hashes the writer signed.
	swapped := spoil(func(d *journal.Draft) { d.Seen = j.CheckpointAt(1) })
	signed := j.Sign(j.Draft(journal.Content, "a"), "a")
	at, from := signatureBytes(swapped.Head)[1]+1, signatureBytes(signed.Head)[1]+1
	mixed := signet.Record{Head: append(bytes.Clone(signed.Head[:from]), swapped.Head[at:]...), Blob: signed.Blob}
	refused(t, j, "another true head than the one it signed", mixed, signet.ErrNotVerified)

	refused(t, j, "an observed head behind that of its last entry", spoil(func(d *journal.Draft) { d.Seen = j.CheckpointAt(1) }), signet.ErrNotVerified)
	w.Draw(r, "a+c")
	j.Draw("a")
	refused(t, j, "a directory head behind that of its last entry", spoil(func(d *journal.Draft) { d.Dir = w.CheckpointAt(3) }), signet.ErrNotVerified)
	// A device's first entry may have seen little.
	d := j.Draft(journal.Content, "c")
	d.Seen, d.Dir = j.CheckpointAt(0), w.CheckpointAt(3)
	if _, err := j.Offer(j.Sign(d, "c")); err != nil {
		t.Errorf("a first entry that saw little: %v", err)
	}
	same(t, j, "a", "b", "c")
}

func stripSeen(rec signet.Record) signet.Record {
	at := signatureBytes(rec.Head)[1] + 1
	n := int(rec.Head[at])<<8 | int(rec.Head[at+1])
	head := append(bytes.Clone(rec.Head[:at]), 0, 0)
	return signet.Record{Head: append(head, rec.Head[at+2+n:]...), Blob: rec.Blob}
}

func TestAHeadFromTheFutureIsInvalid(t *testing.T) {
	_, _, j := start(t)
	j.Draw("a b")
	late := j.Sign(j.Draft(journal.Content, "b"), "b")
	short := &ringtest.Journal{World: j.World, ID: j.ID, State: journal.NewState(j.ID, j.Directory())}
	if _, err := short.Offer(j.Log[0]); err != nil {
		t.Fatal(err)
	}
	refused(t, short, "an observed head larger than its position", late, signet.ErrNotVerified)
}

// The service signed two histories and showed one to each of two writers.
func TestASignedHeadThatContradictsIsEvidence(t *testing.T) {
	w, _, j := start(t)
	j.Draw("a b")
	lie := func(log signet.LogID, size uint64) *chain.Checkpoint {
		c, err := chain.Sign(w.Service, log, size, signet.Hash{66}, w.Now, true)
		w.Must(err)
		return c
	}
	for name, spoil := range map[string]func(d *journal.Draft){
		"observed":  func(d *journal.Draft) { d.Seen = lie(signet.Journal(j.ID), 2) },
		"directory": func(d *journal.Draft) { d.Dir = lie(signet.Directory(w.State.Org()), 2) },
	} {
		d := j.Draft(journal.Content, "b")
		spoil(d)
		rec := j.Sign(d, "b")
		size := j.State.Size()
		_, _, err := j.Force(rec)
		var c *journal.Contradicted
		if !errors.As(err, &c) || !errors.Is(err, signet.ErrNotVerified) || j.State.Size() != size {
			t.Fatalf("%s: %v", name, err)
		}
		tree := &j.State.Tree
		mine := j.CheckpointAt(2)
		if name == "directory" {
			tree, mine = &w.Tree, w.CheckpointAt(2)
		}
		e, err := chain.NewFork(mine, c.Shown, tree)
		if err != nil {
			t.Fatalf("%s: no evidence: %v", name, err)
		}
		w.Must(e.Verify(w.Service.Public()))
		// Signed by nobody who may write, the same head is noise.
		d.Device, d.Ring = w.ID("x"), signet.RingID{}
		ignored(t, j, name+" by a stranger", j.Sign(d, "x"), signet.ErrNotAllowed)
	}
}

func TestAuthorityEntriesFollowOneAnother(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c a-c")
	first, second := j.Sign(j.Rekey("a"), "a"), j.Sign(j.Rekey("b"), "b")
	if _, err := j.Offer(first); err != nil {
		t.Fatal(err)
	}
	refused(t, j, "the second of two rekeyers", second, signet.ErrConflict)
	refused(t, j, "the first again", first, signet.ErrConflict)
	d := j.Draft(journal.Marker, "a")
	d.Authority = signet.Hash(j.ID)
	refused(t, j, "a marker that names an older authority entry", j.Sign(d, "a"), signet.ErrConflict)

	j.Draw("a! a b")
	d = j.Draft(journal.Content, "b")
	d.Authority = signet.Hash(j.ID)
	refused(t, j, "content that names an older one than its writer's last", j.Sign(d, "b"), signet.ErrNotVerified)
	d = j.Draft(journal.Content, "b")
	d.Authority = j.State.Own(w.ID("a"))
	refused(t, j, "content that names a content entry", j.Sign(d, "b"), signet.ErrNotVerified)
	lagging := j.Draft(journal.Content, "b")
	j.Draw("a!")
	if _, err := j.Offer(j.Sign(lagging, "b")); err != nil {
		t.Errorf("content that did not see the last marker: %v", err)
	}
	same(t, j, "a", "b")
}

func TestARekeyToTheWrongSetKeepsItsPlaceAlone(t *testing.T) {
	w, r, j := start(t)
	m := w.Member("a", "m")
	w.Draw(r, "a+c a-c")
	old := w.CheckpointAt(4)
	right := j.State.Recipients(w.State.Size())
	for name, to := range map[string][]ring.Recipient{
		"nobody":              {},
		"a stranger too":      append([]ring.Recipient{{Kind: ring.ToRing, ID: m, Generation: 1}}, right...),
		"a stranger":          {{Kind: ring.ToRing, ID: m, Generation: 1}},
		"an old generation":   {{Kind: ring.ToRing, ID: r, Generation: 1}},
		"past a fresh ring":   {{Kind: ring.ToDevice, ID: w.ID("a")}, {Kind: ring.ToDevice, ID: w.ID("b")}},
		"the revoked device":  append([]ring.Recipient{{Kind: ring.ToDevice, ID: w.ID("c")}}, right...),
		"a generation to be":  {{Kind: ring.ToRing, ID: r, Generation: 3}},
		"the device by mixup": {{Kind: ring.ToRing, ID: w.ID("a"), Generation: 1}},
	} {
		rec := j.Sign(j.RekeyTo("b", to), "b")
		if _, err := j.Offer(rec); !errors.Is(err, signet.ErrNotAllowed) {
			t.Errorf("%s: the service says %v", name, err)
		}
		void(t, j, name, rec)
	}
	d := j.RekeyTo("a", right)
	d.Generation++
	void(t, j, "a number skipped", j.Sign(d, "a"))
	// At the head that it names, not at the newest.
	d = j.RekeyTo("a", right)
	d.Dir = old
	void(t, j, "a set of later than its head", j.Sign(d, "a"))
	j.Draw("a* b")
	if j.State.Current().Number != 2 {
		t.Error("no good rekey after the bad ones")
	}
	same(t, j, "a", "b")
}

func void(t *testing.T, j *ringtest.Journal, what string, rec signet.Record) {
	t.Helper()
	before := j.State.Current().Number
	e, reason, err := j.Force(rec)
	if err != nil || reason != nil || e.Void == nil {
		t.Errorf("%s: %v, %v: must be valid and void", what, reason, err)
	} else if j.State.Latest() != e.Hash || j.State.Current().Number != before {
		t.Errorf("%s: the sub-chain ends elsewhere, or the generation changed", what)
	}
}

func TestAGenesisIsSealedToItsRing(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	m := w.Member("a", "m")
	try := func(d *journal.Draft, by string) error {
		rec, hash, err := d.Sign(w.Signer(by))
		w.Must(err)
		s := journal.NewState(signet.RegionID(hash), w.Directory())
		_, err = s.Check(rec.Head, rec.Blob, w.Now)
		return err
	}
	if err := try(w.Founding(r, "a"), "a"); err != nil {
		t.Fatal(err)
	}
	d := w.Founding(r, "a")
	d.Ring = m
	if err := try(d, "a"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("in another ring's name: %v", err)
	}
	d = w.Founding(m, "a")
	d.Ring = r
	if err := try(d, "a"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("sealed to another ring: %v", err)
	}
	d = w.Founding(r, "a")
	d.Generation = 2
	if err := try(d, "a"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("beginning with generation 2: %v", err)
	}
}

func TestAuthorityNeedsItsBodyAndContentDoesNot(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c a-c")
	j.Draw("a* a")
	for position, rec := range j.Log {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		w.Must(err)
		s := journal.NewState(j.ID, w.Directory())
		for _, before := range j.Log[:position] {
			l, err := journal.ParseLeaf(before.Leaf)
			w.Must(err)
			_, _, err = s.Apply(l, before.Head, before.Blob)
			w.Must(err)
		}
		e, reason, err := s.Apply(leaf, rec.Head, nil)
		if position < 2 {
			if !errors.Is(err, signet.ErrNotVerified) || s.Size() != uint64(position) {
				t.Errorf("authority entry %d without its body: %v", position, err)
			}
			continue
		}
		if err != nil || reason != nil || e.Whole || e.Sealed != nil {
			t.Fatalf("content entry %d without its parts: %v, %v", position, reason, err)
		}
		rec.Leaf = leaf.Append(nil)
		again, err := journal.Reopen(s, uint64(position), rec)
		if err != nil || !again.Whole || len(again.Sealed) == 0 || again.Hash != e.Hash {
			t.Errorf("entry %d, opened later: %v", position, err)
		}
		if _, err := journal.Reopen(s, uint64(position), signet.Record{Leaf: rec.Leaf, Head: rec.Head}); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("opened later without its parts: %v", err)
		}
		if _, err := journal.Reopen(s, uint64(position)-1, rec); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("opened at another position: %v", err)
		}
	}
}

func TestWhatIsTooLargeHasNoEffect(t *testing.T) {
	_, _, j := start(t)
	spoil := func(f func(d *journal.Draft)) signet.Record {
		d := j.Draft(journal.Content, "a")
		f(d)
		return j.Sign(d, "a")
	}
	refused(t, j, "1001 operations", spoil(func(d *journal.Draft) { d.Count = journal.MaxOperations + 1 }), signet.ErrNotVerified)
	refused(t, j, "operations that are not there", spoil(func(d *journal.Draft) { d.Count, d.Root = 0, signet.Hash{} }), signet.ErrNotVerified)
	d := j.Draft(journal.Content, "a")
	d.Sealed = make([]byte, journal.MaxEntry)
	if _, _, err := d.Sign(j.Signer("a")); err == nil {
		t.Error("a draft of more than 4 MiB is signed")
	}
	// Ids over the limit are bound by a good header: the entry has its place,
	// so that those who replay headers alone agree, and its parts are void.
	many := spoil(func(d *journal.Draft) { d.IDs = make([]signet.ObjectID, journal.MaxObjects+1) })
	if _, err := j.Offer(many); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("4097 objects, at the service: %v", err)
	}
	e, reason, err := j.Force(many)
	if err != nil || reason != nil || e.Void == nil || e.Objects != nil || e.Sealed != nil {
		t.Errorf("4097 objects: %v, %v", reason, err)
	}
	full := spoil(func(d *journal.Draft) { d.IDs = make([]signet.ObjectID, journal.MaxObjects) })
	if _, err := j.Offer(full); err != nil {
		t.Errorf("4096 objects: %v", err)
	}
	long := signet.Record{Head: append(bytes.Clone(full.Head), 0), Blob: full.Blob}
	if _, err := j.State.Check(long.Head, long.Blob, j.Now); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("a byte after the head: %v", err)
	}
	same(t, j, "a")
}

// A service that does not check can order anything for an entry: noise has a
// leaf and no effect, the same for everybody.
func TestNoiseIsIgnored(t *testing.T) {
	_, _, j := start(t)
	good := j.Sign(j.Draft(journal.Content, "a"), "a")
	for name, head := range map[string][]byte{
		"noise":        []byte("noise"),
		"trailing":     append(bytes.Clone(good.Head), 0),
		"cut":          good.Head[:100],
		"unknown type": flip(good.Head, 4),
		"long header":  append([]byte{0xff, 0xff}, make([]byte, 1<<16)...),
	} {
		hash, err := journal.HashOf(head)
		if err != nil {
			hash = key.Sum(key.LabelEntryHash, head)
		}
		before := j.State.Size()
		e, reason, err := j.State.Apply(journal.Leaf{Hash: hash, Time: j.Now}, head, nil)
		if err != nil || e != nil || reason == nil || j.State.Size() != before+1 {
			t.Errorf("%s: %v, %v", name, reason, err)
		}
	}
}

func TestTimeDoesNotGoBack(t *testing.T) {
	_, _, j := start(t)
	rec := j.Sign(j.Draft(journal.Content, "a"), "a")
	e, err := j.State.Check(rec.Head, rec.Blob, j.Now-1000)
	if err != nil || e.Time != j.State.Time() {
		t.Errorf("a clock that was set back: %v, %d", err, e.Time)
	}
	if _, _, err := j.State.Apply(journal.Leaf{Hash: e.Hash, Time: j.State.Time() - 1}, rec.Head, rec.Blob); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("a leaf whose time goes back: %v", err)
	}
}
