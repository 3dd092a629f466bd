package ring_test

import (
	"errors"
	"testing"

	"signet"
	"signet/core/key"
	"signet/core/ring"
)

// A world is a directory under construction, with devices that can sign.
// Envelopes hold nothing: rings are about who gets one.
type world struct {
	t     *testing.T
	state *ring.State
	now   int64
	log   []signet.Record
	log0  []ring.Leaf
	keys  map[string]*key.Private
	recs  map[string]*ring.Device
	svc   *key.Private
}

func newWorld(t *testing.T) *world {
	svc, _ := key.Generate()
	return &world{t: t, state: ring.NewState(signet.OrgID{}), now: 1000, keys: map[string]*key.Private{}, recs: map[string]*ring.Device{}, svc: svc}
}

func (w *world) device(name string) *ring.Device {
	if w.recs[name] == nil {
		k, err := key.Generate()
		if err != nil {
			w.t.Fatal(err)
		}
		w.keys[name] = k
		w.recs[name] = &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: k.Public(), Seal: key.Encryption{1}}
	}
	return w.recs[name]
}

func (w *world) id(name string) signet.DeviceID { return w.device(name).ID() }

func (w *world) try(st *ring.Statement, signer string, claim *key.Private, blob []byte) error {
	w.t.Helper()
	var c key.Signer
	if claim != nil {
		c = claim
	}
	w.device(signer)
	if err := st.Sign(w.keys[signer], c); err != nil {
		w.t.Fatal(err)
	}
	return w.put(st.Bytes(), blob)
}

func (w *world) put(head, blob []byte) error {
	w.now++
	st, err := ring.Parse(head)
	if err != nil {
		return err
	}
	leaf := ring.LeafOf(st, w.now)
	if err := w.state.Apply(leaf, head, blob); err != nil {
		return err
	}
	w.log = append(w.log, signet.Record{Leaf: leaf.Append(nil), Head: head, Blob: blob})
	return nil
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func envelopes(ids ...signet.DeviceID) []byte {
	var l []ring.Envelope
	for _, i := range ids {
		l = append(l, ring.Envelope{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: i}, Sealed: []byte("sealed")})
	}
	return ring.AppendEnvelopes(nil, l)
}

func (w *world) next(typ ring.Type, r signet.RingID, signer string) *ring.Statement {
	seq, prev, _ := w.state.Head(r)
	return &ring.Statement{Type: typ, Org: w.state.Org(), Ring: r, Seq: seq, Prev: prev, Signer: w.id(signer)}
}

// found makes the organisation with owner's first device, and returns its ring.
func (w *world) found(owner string) signet.RingID {
	w.t.Helper()
	d := w.device(owner)
	w.must(w.try(&ring.Statement{Type: ring.Root, Signer: d.ID(), Device: d, LogKey: w.svc.Public(), Bootstrap: ring.BootstrapHash([32]byte{7})}, owner, nil, nil))
	w.must(w.genesis(owner, ring.Claim{Kind: ring.ClaimRoot}, nil))
	r, ok := w.state.Owner()
	if !ok {
		w.t.Fatal("no owner")
	}
	return r
}

func (w *world) genesis(dev string, c ring.Claim, inv *key.Private) error {
	d := w.device(dev)
	blob := envelopes(d.ID())
	return w.try(&ring.Statement{Type: ring.Genesis, Org: w.state.Org(), Signer: d.ID(), Device: d, Claim: c,
		Gen: &ring.NewGeneration{Number: 1, Envelopes: ring.BlobHash(blob)}}, dev, inv, blob)
}

func (w *world) add(r signet.RingID, giver, newcomer string) error {
	d := w.device(newcomer)
	rev, err := ring.SignNewcomer(w.keys[newcomer], w.state.Org(), r, d)
	w.must(err)
	st := w.next(ring.Add, r, giver)
	g := w.state.Generations(r)
	st.Device, st.Reverse, st.Generation = d, rev, g[len(g)-1].Number
	blob := envelopes(d.ID())
	st.Envelopes = ring.BlobHash(blob)
	return w.try(st, giver, nil, blob)
}

func (w *world) rekeyTo(st *ring.Statement, signer string, ids ...signet.DeviceID) error {
	blob := envelopes(ids...)
	n := len(w.state.Generations(st.Ring)) + 1
	st.Gen = &ring.NewGeneration{Number: signet.Generation(n), BackLink: []byte("back"), Envelopes: ring.BlobHash(blob)}
	return w.try(st, signer, nil, blob)
}

func TestMembersJoinAndLeave(t *testing.T) {
	w := newWorld(t)
	r := w.found("a")
	w.must(w.add(r, "a", "b"))
	w.must(w.add(r, "b", "c"))
	size := w.state.Size()
	if w.state.StaleAt(r, 1, size) {
		t.Error("stale before anybody left")
	}
	st := w.next(ring.Revoke, r, "b")
	st.Gone = w.id("a")
	w.must(w.rekeyTo(st, "b", w.id("b"), w.id("c")))
	if w.state.ActiveAt(r, w.id("a"), w.state.Size()) || !w.state.ActiveAt(r, w.id("a"), size) {
		t.Error("a is active after, or was not before, its revocation")
	}
	if !w.state.StaleAt(r, 1, w.state.Size()) || w.state.StaleAt(r, 1, size) || w.state.StaleAt(r, 2, w.state.Size()) {
		t.Error("generation 1 must be stale from the revocation on, generation 2 not")
	}
	if g, _ := w.state.GenerationAt(r, size); g.Number != 1 {
		t.Errorf("generation %d at size %d", g.Number, size)
	}
	// Replay of what was stored gives the same state.
	s := ring.NewState(w.state.Org())
	for _, rec := range w.log {
		leaf, err := ring.ParseLeaf(rec.Leaf)
		w.must(err)
		w.must(s.Apply(leaf, rec.Head, rec.Blob))
	}
	if s.Size() != w.state.Size() || len(s.Members(r)) != 3 {
		t.Error("replay differs")
	}
}

func TestStatementsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	r := w.found("a")
	w.must(w.add(r, "a", "b"))
	refuse := func(name string, err error, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	refuse("a stranger adds", w.add(r, "x", "y"), signet.ErrNotAllowed)
	refuse("a device joins twice", w.add(r, "a", "b"), signet.ErrConflict)

	st := w.next(ring.Revoke, r, "a")
	st.Gone = w.id("b")
	refuse("the revoked device gets the key", w.rekeyTo(st, "a", w.id("a"), w.id("b")), signet.ErrNotAllowed)
	st = w.next(ring.Rekey, r, "a")
	refuse("a rekey leaves a device out", w.rekeyTo(st, "a", w.id("a")), signet.ErrNotAllowed)
	st = w.next(ring.Rekey, r, "a")
	refuse("a rekey adds a ghost", w.rekeyTo(st, "a", w.id("a"), w.id("b"), w.id("ghost")), signet.ErrNotAllowed)

	st = w.next(ring.Rekey, r, "a")
	st.Seq++
	refuse("a skipped number", w.rekeyTo(st, "a", w.id("a"), w.id("b")), signet.ErrConflict)
	refuse("a second claim of the root", w.genesis("z", ring.Claim{Kind: ring.ClaimRoot}, nil), signet.ErrConflict)

	// A swapped key: the newcomer's reverse signature is over another record.
	d := *w.device("c")
	rev, _ := ring.SignNewcomer(w.keys["c"], w.state.Org(), r, &d)
	d.Seal[5] ^= 1
	add := w.next(ring.Add, r, "a")
	blob := envelopes(d.ID())
	add.Device, add.Reverse, add.Generation, add.Envelopes = &d, rev, 1, ring.BlobHash(blob)
	refuse("a swapped key", w.try(add, "a", nil, blob), signet.ErrNotVerified)

	// Signed by another device than it says.
	st = w.next(ring.Rekey, r, "a")
	refuse("another signer", w.rekeyTo(st, "b", w.id("a"), w.id("b")), signet.ErrNotVerified)
	// Every bit of a good statement counts.
	st = w.next(ring.SignOut, r, "b")
	w.must(st.Sign(w.keys["b"], nil))
	for i := 0; i < len(st.Bytes()); i += 97 {
		bad := append([]byte(nil), st.Bytes()...)
		bad[i] ^= 4
		if w.put(bad, nil) == nil {
			t.Fatalf("byte %d flipped, accepted", i)
		}
	}
	w.must(w.put(st.Bytes(), nil))
	if !w.state.StaleAt(r, 1, w.state.Size()) {
		t.Error("a lasting device signed out, the generation is not stale")
	}
	refuse("nobody is added under a stale key", w.add(r, "a", "d"), signet.ErrStale)
}

func TestInvitationsAreRedeemedOnce(t *testing.T) {
	w := newWorld(t)
	w.found("a")
	ck, _ := key.Generate()
	con := &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: ck.Public()}
	invite := func(expiry int64, seed byte) (*ring.Invitation, *key.Private) {
		k, _ := key.FromSeed([32]byte{seed})
		i := &ring.Invitation{Org: w.state.Org(), Claim: ring.ClaimOf(k.Public()), Role: ring.RoleMember, Expiry: expiry, Issuer: con.ID()}
		w.must(i.Sign(ck))
		i, err := ring.ParseInvitation(i.Bytes())
		w.must(err)
		return i, k
	}
	redeem := func(dev string, i *ring.Invitation, k *key.Private) error {
		return w.genesis(dev, ring.Claim{Kind: ring.ClaimInvitation, Admit: i, Public: k.Public()}, k)
	}
	i, k := invite(1_000_000, 1)
	if err := redeem("m", i, k); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("by a connector that nobody allowed: %v", err)
	}
	st := w.next(ring.AllowConnector, signet.RingID(w.state.Org()), "a")
	st.Device = con
	w.must(w.try(st, "a", nil, nil))
	other, _ := key.FromSeed([32]byte{9})
	if err := redeem("m", i, other); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("with another key: %v", err)
	}
	w.must(redeem("m", i, k))
	if err := redeem("n", i, k); !errors.Is(err, signet.ErrConflict) {
		t.Errorf("twice: %v", err)
	}
	if i, k := invite(5, 2); !errors.Is(redeem("n", i, k), ring.ErrExpired) {
		t.Error("an invitation that ran out is taken")
	}
	if len(w.state.Rings()) != 2 {
		t.Errorf("%d rings", len(w.state.Rings()))
	}
}

func TestInviteURLReadsBack(t *testing.T) {
	in := ring.Invite{URL: "https://h:8443", Secret: [32]byte{1}, LogKeys: signet.Hash{2}, Pin: make([]byte, 32), Label: "Anna"}
	out, err := ring.ParseInvite(in.String())
	if err != nil || out.String() != in.String() || out.Label != "Anna" || out.URL != in.URL {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, bad := range []string{"", "https://h:8443", in.String()[:60], in.String() + "A", "https://h/#x" + in.String()} {
		if _, err := ring.ParseInvite(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	w := newWorld(&testing.T{})
	r := w.found("a")
	_ = w.add(r, "a", "b")
	for _, rec := range w.log {
		f.Add(rec.Head)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := ring.Parse(b)
		if err != nil {
			return
		}
		if string(st.Bytes()) != string(b) || !st.Canonical() {
			t.Fatal("read and written differ")
		}
	})
}
