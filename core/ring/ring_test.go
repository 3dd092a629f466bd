package ring_test

import (
	"errors"
	"testing"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
)

func refused(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func TestMembersJoinAndLeave(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b b+c")
	size := w.State.Size()
	if w.State.StaleAt(r, 1, size) {
		t.Error("stale before anybody left")
	}
	w.Draw(r, "b-a")
	if w.State.ActiveAt(r, w.ID("a"), w.State.Size()) || !w.State.ActiveAt(r, w.ID("a"), size) {
		t.Error("a is active after, or was not before, its revocation")
	}
	if !w.State.StaleAt(r, 1, w.State.Size()) || w.State.StaleAt(r, 1, size) || w.State.StaleAt(r, 2, w.State.Size()) {
		t.Error("generation 1 must be stale from the revocation on, generation 2 not")
	}
	if g, _ := w.State.GenerationAt(r, size); g.Number != 1 {
		t.Errorf("generation %d at size %d", g.Number, size)
	}
	if s := w.Replay(); s.Size() != w.State.Size() || len(s.Members(r)) != 3 {
		t.Error("replay differs")
	}
}

func TestAnswersAboutTheFutureAreNo(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	if n := w.State.Size() + 1; w.State.ActiveAt(r, w.ID("a"), n) || !w.State.StaleAt(r, 1, n) || !w.State.RevokedAt(w.ID("a"), n) {
		t.Error("a size that was not replayed yet is answered for")
	}
}

func TestStatementsThatAreRefused(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b")
	refused(t, "a stranger adds", w.Add(r, "x", "y"), signet.ErrNotAllowed)
	refused(t, "a device joins twice", w.Add(r, "a", "b"), signet.ErrConflict)

	st := w.Next(ring.Revoke, r, "a")
	st.Gone = w.ID("b")
	refused(t, "the revoked device gets the key", w.RekeyTo(st, "a", w.IDs("a", "b")...), signet.ErrNotAllowed)
	st = w.Next(ring.Revoke, r, "a")
	st.Gone = w.ID("b")
	refused(t, "a revocation without the next key", w.Try(st, "a", nil, nil), signet.ErrNotAllowed)
	st = w.Next(ring.Revoke, r, "a")
	st.Gone = w.ID("a")
	refused(t, "who leaves makes the next key", w.RekeyTo(st, "a", w.IDs("b")...), signet.ErrNotAllowed)
	refused(t, "a rekey leaves a device out", w.RekeyTo(w.Next(ring.Rekey, r, "a"), "a", w.IDs("a")...), signet.ErrNotAllowed)
	refused(t, "a rekey adds a ghost", w.RekeyTo(w.Next(ring.Rekey, r, "a"), "a", w.IDs("a", "b", "ghost")...), signet.ErrNotAllowed)

	st = w.Next(ring.Rekey, r, "a")
	st.Seq++
	refused(t, "a skipped number", w.RekeyTo(st, "a", w.IDs("a", "b")...), signet.ErrConflict)
	st = w.Next(ring.Rekey, r, "a")
	st.Prev[3] ^= 1
	refused(t, "another previous statement", w.RekeyTo(st, "a", w.IDs("a", "b")...), signet.ErrConflict)
	_, err := w.Genesis("z", ring.Claim{Kind: ring.ClaimRoot}, nil)
	refused(t, "a second claim of the root", err, signet.ErrConflict)
	refused(t, "a second root", w.Try(w.Root("z"), "z", nil, nil), signet.ErrConflict)

	// A swapped key: the newcomer's reverse signature is over another record.
	d := *w.Device("c")
	reverse, err := ring.SignNewcomer(w.Signer("c"), w.State.Org(), r, &d)
	w.Must(err)
	d.Seal[5] ^= 1
	add, blob := w.AddOf(r, "a", &d, reverse)
	refused(t, "a swapped key", w.Try(add, "a", nil, blob), signet.ErrNotVerified)

	refused(t, "signed by another device than it says", w.RekeyTo(w.Next(ring.Rekey, r, "a"), "b", w.IDs("a", "b")...), signet.ErrNotVerified)
	st = w.Next(ring.DropConnector, r, "a")
	refused(t, "a statement of the root in a member's ring", w.Try(st, "a", nil, nil), signet.ErrNotAllowed)
	st = w.Next(ring.SignOut, signet.RingID(w.State.Org()), "a")
	refused(t, "a member's statement in the root ring", w.Try(st, "a", nil, nil), signet.ErrNotAllowed)
	refused(t, "a policy by another than the prime device", w.Try(policy(w, r, "b"), "b", nil, nil), signet.ErrNotAllowed)
	w.Must(w.Try(policy(w, r, "a"), "a", nil, nil))
	refused(t, "another adds where the prime device does", w.Add(r, "b", "c"), signet.ErrNotAllowed)

	// Every bit of a good statement counts.
	st = w.Next(ring.SignOut, r, "b")
	w.Must(st.Sign(w.Signer("b"), nil))
	for i := 0; i < len(st.Bytes()); i += 97 {
		bad := append([]byte(nil), st.Bytes()...)
		bad[i] ^= 4
		if w.Put(bad, nil) == nil {
			t.Fatalf("byte %d flipped, accepted", i)
		}
	}
	w.Must(w.Put(st.Bytes(), nil))
	if !w.State.StaleAt(r, 1, w.State.Size()) {
		t.Error("a lasting device signed out, the generation is not stale")
	}
	st = w.Next(ring.Revoke, r, "a")
	st.Gone = w.ID("b")
	refused(t, "a device that is gone is revoked", w.RekeyTo(st, "a", w.IDs("a")...), signet.ErrConflict)
	refused(t, "a second signature", w.Try(w.Next(ring.SignOut, r, "a"), "a", ringtest.Key("a"), nil), signet.ErrNotVerified)
	refused(t, "a device that signed out signs", w.SignOut(r, "b"), signet.ErrNotAllowed)
	refused(t, "it comes back", w.Add(r, "a", "b"), signet.ErrConflict)
	refused(t, "nobody is added under a stale key", w.Add(r, "a", "d"), signet.ErrStale)
}

func policy(w *ringtest.World, r signet.RingID, by string) *ring.Statement {
	st := w.Next(ring.Policy, r, by)
	st.AddPolicy = ring.AddPrime
	return st
}

func TestStatementsAreOfOneOrganisationAndOneRing(t *testing.T) {
	w, v := ringtest.New(t), ringtest.New(t)
	r := w.Found("a")
	v.Found("z")
	m := w.Member("a", "m")
	w.Must(w.Add(m, "m", "n"))

	// Nothing of one organisation is of use in the other.
	for i, rec := range w.Log {
		if err := v.Put(rec.Head, rec.Blob); err == nil {
			t.Errorf("statement %d is taken by another organisation", i)
		}
	}
	// The reverse signature of a newcomer to one ring does not let it be added
	// to another, nor in another organisation.
	d := w.Device("o")
	for name, reverse := range map[string][]byte{
		"another ring":         signNewcomer(w, "o", w.State.Org(), m),
		"another organisation": signNewcomer(w, "o", v.State.Org(), r),
	} {
		st, blob := w.AddOf(r, "a", d, reverse)
		refused(t, "a newcomer to "+name, w.Try(st, "a", nil, blob), signet.ErrNotVerified)
	}
	// A device of one ring says nothing in another.
	refused(t, "a member revokes the owner's device", w.Revoke(r, "m", "a"), signet.ErrNotAllowed)
	refused(t, "an owner's device adds to a member's ring", w.Add(m, "a", "o"), signet.ErrNotAllowed)
	refused(t, "a member allows a connector", w.Connect("con", "m"), signet.ErrNotAllowed)
	st := w.Next(ring.Revoke, r, "a")
	st.Gone = w.ID("m")
	refused(t, "a device of another ring is revoked", w.RekeyTo(st, "a", w.IDs("a")...), signet.ErrConflict)
}

func signNewcomer(w *ringtest.World, name string, org signet.OrgID, r signet.RingID) []byte {
	b, err := ring.SignNewcomer(w.Signer(name), org, r, w.Device(name))
	w.Must(err)
	return b
}

func TestInvitationsAreRedeemedOnce(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b")
	w.Connector("con")
	redeem := func(name string, i *ring.Invitation, of string) error {
		_, err := w.Redeem(name, i, of)
		return err
	}
	i := w.Invitation("con", "first", w.Now+100)
	refused(t, "by a connector that nobody allowed", redeem("m", i, "first"), signet.ErrNotAllowed)
	w.Must(w.Connect("con", "a"))
	refused(t, "with another key", redeem("m", i, "other"), signet.ErrNotVerified)
	st, blob := w.GenesisOf("m", ring.Claim{Kind: ring.ClaimInvitation, Admit: i, Public: ringtest.Key("first").Public()})
	refused(t, "without the invitation's signature", w.Try(st, "m", nil, blob), signet.ErrNotVerified)
	w.Must(redeem("m", i, "first"))
	refused(t, "twice", redeem("n", i, "first"), signet.ErrConflict)
	refused(t, "run out", redeem("n", w.Invitation("con", "late", 5), "late"), ring.ErrExpired)
	refused(t, "by a member", redeem("n", w.Invitation("m", "mine", w.Now+100), "mine"), signet.ErrNotAllowed)

	officer := w.Invitation("b", "officer's", w.Now+100)
	w.Must(w.Revoke(r, "a", "b"))
	refused(t, "by an officer's device that was revoked since", redeem("n", officer, "officer's"), signet.ErrNotAllowed)
	connectors := w.Invitation("con", "connector's", w.Now+100)
	drop := w.Next(ring.DropConnector, signet.RingID(w.State.Org()), "a")
	drop.Gone = w.ID("con")
	w.Must(w.Try(drop, "a", nil, nil))
	refused(t, "by a connector that was dropped since", redeem("n", connectors, "connector's"), signet.ErrNotAllowed)
	refused(t, "a dropped connector comes back", w.Connect("con", "a"), signet.ErrConflict)
	if len(w.State.Rings()) != 2 {
		t.Errorf("%d rings", len(w.State.Rings()))
	}
}

func TestConnectorsDoNothingButAdmit(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Must(w.Connect("con", "a"))
	refused(t, "a connector adds", w.Add(r, "con", "b"), signet.ErrNotAllowed)
	refused(t, "a connector revokes", w.Revoke(r, "con", "a"), signet.ErrNotAllowed)
	refused(t, "a connector allows another", w.Connect("con2", "con"), signet.ErrNotAllowed)
	_, err := w.Redeem("con", w.Invitation("con", "own", w.Now+100), "own")
	refused(t, "a connector makes a ring of its own key", err, signet.ErrNotAllowed)
	reverse := signNewcomer(w, "con", w.State.Org(), r)
	st, blob := w.AddOf(r, "a", w.Device("con"), reverse)
	refused(t, "a connector joins a ring", w.Try(st, "a", nil, blob), signet.ErrNotAllowed)
	w.Device("b")
	if _, err := w.Redeem("b", w.Invitation("con", "b", w.Now+100), "b"); err != nil {
		t.Errorf("a connector cannot admit: %v", err)
	}
}

func TestABrowserEndsByItself(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Device("web").Class = ring.Browser
	w.Device("tab").Class = ring.Browser
	w.Draw(r, "a+web a+tab web.")
	if w.State.StaleAt(r, 1, w.State.Size()) || w.State.RevokedAt(w.ID("web"), w.State.Size()) {
		t.Error("a browser's own sign-out made the generation stale")
	}
	w.Draw(r, "a-tab")
	if !w.State.StaleAt(r, 1, w.State.Size()) || !w.State.RevokedAt(w.ID("tab"), w.State.Size()) {
		t.Error("a revoked browser did not")
	}
}

func TestADateThatPassesIsARevocation(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	end := w.Now + 10
	w.Device("b").NotAfter = end
	w.Draw(r, "a+b")
	before := w.State.Size()
	w.Now = end
	w.Must(w.Connect("con", "a")) // any leaf tells the time
	passed := w.State.Size()
	if !w.State.StaleAt(r, 1, passed) || w.State.ActiveAt(r, w.ID("b"), passed) || !w.State.ActiveAt(r, w.ID("b"), before) {
		t.Error("the date passed: the generation must be stale and the device gone")
	}
	refused(t, "a device after its date", w.Add(r, "b", "c"), signet.ErrNotAllowed)
	// What was so at a size stays so, whatever comes after.
	w.Draw(r, "a-b")
	if !w.State.StaleAt(r, 1, passed) {
		t.Error("a later revocation changes what was stale before it")
	}
	if w.State.StaleAt(r, 2, w.State.Size()) {
		t.Error("the generation without it is stale")
	}
	w.Device("old").NotAfter = end
	refused(t, "a device whose date passed is added", w.Add(r, "a", "old"), signet.ErrNotAllowed)
	if !w.State.StaleAt(r, 1, passed) || w.State.StaleAt(r, 1, before) {
		t.Error("answers about the past changed")
	}
	_, err := w.Redeem("old", w.Invitation("a", "old", w.Now+100), "old")
	refused(t, "a device whose date passed makes a ring", err, signet.ErrNotAllowed)
}

func TestTheTimeOfAStatementCounts(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Device("b").NotAfter = w.Now + 10
	w.Draw(r, "a+b")
	w.Now += 10 // no leaf tells it yet
	refused(t, "nobody is added under a key that a device past its date has", w.Add(r, "a", "c"), signet.ErrStale)
	// A clock that was set back stops nobody.
	now := w.Now
	w.Draw(r, "a*")
	w.Now = now - 5
	w.Draw(r, "a*")
	if w.Now < now {
		t.Error("time went back")
	}
	leaf, err := ring.ParseLeaf(w.Log[len(w.Log)-1].Leaf)
	w.Must(err)
	leaf.Time = now - 5
	st := w.Log[len(w.Log)-1]
	refused(t, "a leaf whose time goes back", w.ReplayTo(w.State.Size()-1).Apply(leaf, st.Head, st.Blob), signet.ErrNotVerified)
}

func TestALeafNamesItsStatement(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b")
	last := w.Log[2]
	for name, spoil := range map[string]func(*ring.Leaf){
		"another hash":   func(l *ring.Leaf) { l.Hash[0] ^= 1 },
		"another ring":   func(l *ring.Leaf) { l.Ring[0] ^= 1 },
		"another number": func(l *ring.Leaf) { l.Seq++ },
	} {
		leaf, err := ring.ParseLeaf(last.Leaf)
		w.Must(err)
		spoil(&leaf)
		refused(t, name, w.ReplayTo(2).Apply(leaf, last.Head, last.Blob), signet.ErrNotVerified)
	}
	leaf, err := ring.ParseLeaf(last.Leaf)
	w.Must(err)
	refused(t, "other envelopes", w.ReplayTo(2).Apply(leaf, last.Head, ringtest.Envelopes(w.ID("x"))), signet.ErrNotVerified)
	refused(t, "no envelopes", w.ReplayTo(2).Apply(leaf, last.Head, nil), signet.ErrNotVerified)
}

// A ring that a device was not shown stays unknown: it cannot be told anew.
func TestAnOpaqueRingIsNotToldAnew(t *testing.T) {
	w := ringtest.New(t)
	w.Found("a")
	m := w.Member("a", "m")
	w.Draw(m, "m+n m-n")

	s := w.ReplayTo(2)
	leafOf := func(i int) ring.Leaf {
		l, err := ring.ParseLeaf(w.Log[i].Leaf)
		w.Must(err)
		return l
	}
	for i := 2; i < 5; i++ {
		w.Must(s.Apply(leafOf(i), nil, nil))
	}
	if !s.Opaque(m) || len(s.Rings()) != 1 || !s.StaleAt(m, 1, s.Size()) {
		t.Error("a withheld ring must be opaque, not listed, and stale")
	}
	again := leafOf(2)
	again.Time = leafOf(4).Time
	refused(t, "its genesis once more, with the revocation left out", s.Apply(again, w.Log[2].Head, w.Log[2].Blob), signet.ErrConflict)
	w.Draw(m, "m*")
	refused(t, "a statement shown after others were withheld", s.Apply(leafOf(5), w.Log[5].Head, w.Log[5].Blob), signet.ErrNotVerified)
	skip := leafOf(5)
	skip.Seq++
	refused(t, "a number skipped", s.Apply(skip, nil, nil), signet.ErrNotVerified)
}

func TestWhatMustBeShownIsNotWithheld(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b")
	leaf, err := ring.ParseLeaf(w.Log[2].Leaf)
	w.Must(err)
	refused(t, "a statement of a known ring", w.ReplayTo(2).Apply(leaf, nil, nil), signet.ErrNotVerified)
	leaf, err = ring.ParseLeaf(w.Log[0].Leaf)
	w.Must(err)
	refused(t, "the root", ring.NewState(w.State.Org()).Apply(leaf, nil, nil), signet.ErrNotVerified)
}

func TestTheRootIsPinned(t *testing.T) {
	w, v := ringtest.New(t), ringtest.New(t)
	w.Found("a")
	v.Found("z")
	leaf, err := ring.ParseLeaf(v.Log[0].Leaf)
	w.Must(err)
	refused(t, "another root", ring.NewState(w.State.Org()).Apply(leaf, v.Log[0].Head, nil), signet.ErrNotVerified)
}

func TestRecordsAreOfTheirRing(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b")
	m := w.Member("a", "m")
	sign := func(by string, in signet.RingID, about [32]byte, org signet.OrgID) *ring.Record {
		c := &ring.Record{Org: org, Ring: in, Subject: about, Version: 1, Generation: 1, Sealed: []byte("name"), Signer: w.ID(by)}
		b, err := c.Sign(w.Signer(by))
		w.Must(err)
		c, err = ring.ParseRecord(b)
		w.Must(err)
		return c
	}
	org := w.State.Org()
	w.Must(w.State.VerifyRecord(sign("a", r, w.ID("b"), org)))
	w.Must(w.State.VerifyRecord(sign("b", r, r, org)))
	refused(t, "a record by a device of another ring", w.State.VerifyRecord(sign("m", r, w.ID("b"), org)), signet.ErrNotVerified)
	refused(t, "a record about a device of another ring", w.State.VerifyRecord(sign("m", m, w.ID("b"), org)), signet.ErrNotVerified)
	refused(t, "a record about another ring", w.State.VerifyRecord(sign("m", m, r, org)), signet.ErrNotVerified)
	refused(t, "a record of another organisation", w.State.VerifyRecord(sign("a", r, r, signet.OrgID{1})), signet.ErrNotVerified)
	forged := sign("a", r, r, org)
	forged.Signer = w.ID("b")
	b, err := forged.Sign(w.Signer("a"))
	w.Must(err)
	forged, err = ring.ParseRecord(b)
	w.Must(err)
	refused(t, "a record in another's name", w.State.VerifyRecord(forged), signet.ErrNotVerified)
}

func TestEnvelopesAreOneForEach(t *testing.T) {
	one := ring.Envelope{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: [32]byte{1}}, Sealed: []byte("s")}
	for name, list := range map[string][]ring.Envelope{
		"twice the same":      {one, one},
		"a device generation": {{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: [32]byte{1}, Generation: 1}}},
		"a ring without":      {{Recipient: ring.Recipient{Kind: ring.ToRing, ID: [32]byte{1}}}},
		"an unknown kind":     {{Recipient: ring.Recipient{Kind: 3, ID: [32]byte{1}}}},
		"too long":            {{Recipient: one.Recipient, Sealed: make([]byte, 4097)}},
	} {
		if _, err := ring.ParseEnvelopes(ring.AppendEnvelopes(nil, list)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := ring.ParseEnvelopes([]byte{255, 255, 255, 255}); err == nil {
		t.Error("four billion envelopes in four bytes are taken")
	}
}

func TestInviteURLReadsBack(t *testing.T) {
	in := ring.Invite{URL: "https://h:8443", Secret: [32]byte{1}, LogKeys: signet.Hash{2}, Pin: make([]byte, 32), Label: "Anna"}
	out, err := ring.ParseInvite(in.String())
	if err != nil || out.String() != in.String() || out.Label != "Anna" || out.URL != in.URL {
		t.Fatalf("%+v, %v", out, err)
	}
	escape, scheme, user := in, in, in
	escape.Label, scheme.URL, user.URL = "Anna\x1b[2J", "javascript://h", "https://good.example@h:8443"
	for _, bad := range []string{"", "https://h:8443", in.String()[:60], in.String() + "A", "https://h/#x" + in.String(),
		escape.String(), scheme.String(), user.String()} {
		if _, err := ring.ParseInvite(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestPrivateKeysOfNamesAreStable(t *testing.T) {
	var _ key.Signer = ringtest.Key("a")
	if !ringtest.Key("a").Public().Equal(ringtest.Key("a").Public()) || ringtest.Key("a").Public().Equal(ringtest.Key("b").Public()) {
		t.Error("a name must stand for one key")
	}
}
