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

func TestLastOfADeviceIsItsLastValidEntry(t *testing.T) {
	w, r, j := start(t)
	made := w.Now
	w.Draw(r, "b+c")
	last := func(of string) int64 {
		t.Helper()
		ms, ok := j.Replay(j.Directory(), false).State.LastOf(w.ID(of))
		if again, same := j.State.LastOf(w.ID(of)); again != ms || same != ok || ok != (ms > 0) {
			t.Errorf("%s: %d, %v; the service says %d, %v", of, ms, ok, again, same)
		}
		return ms
	}
	if last("a") != made || last("b") != 0 {
		t.Errorf("a %d, b %d, made at %d", last("a"), last("b"), made)
	}
	j.Draw("b")
	content := w.Now
	j.Draw("a a!")
	if last("a") != w.Now || last("b") != content || last("c") != 0 {
		t.Errorf("a %d, b %d, c %d; b wrote at %d, a at %d", last("a"), last("b"), last("c"), content, w.Now)
	}
	// Its chain goes on behind an authority entry.
	j.Draw("b!")
	authority := w.Now
	j.Draw("a b")
	if content = w.Now; last("b") != content || content == authority {
		t.Errorf("b %d, wrote at %d", last("b"), content)
	}
	if _, reason, err := j.Force(j.Log[len(j.Log)-1]); reason == nil || err != nil {
		t.Fatal(reason, err)
	}
	if last("b") != content {
		t.Error("an entry without effect counts")
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
	refused(t, j, "a digest of no point", spoil(func(d *journal.Draft) { d.Digest[0] = 1 }), signet.ErrNotVerified)
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
