// Package ringtest is a small organisation for tests: devices with keys made
// of their names, a service that orders and signs, a directory and journals.
//
// It promises that every step goes through the same calls that a device and a
// service make, and that a World built twice by the same steps has the same
// keys and statements, less the randomness in ML-DSA signatures. Envelopes
// hold nothing: rings and journals are about who gets one. Shipped code does
// not import it.
//
// Source: spec/ring.md.
package ringtest

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/ring"
)

// A World is a directory under construction, with devices that can sign and a
// service that signs its checkpoints.
type World struct {
	T       testing.TB
	State   *ring.State
	Tree    chain.Tree
	Now     int64 // time of the last leaf, ms since 1970; each takes one more
	Log     []signet.Record
	Service *key.Private

	keys    map[string]*key.Private
	records map[string]*ring.Device
}

// New is a World with no statement yet.
func New(t testing.TB) *World {
	return &World{T: t, State: ring.NewState(signet.OrgID{}), Now: 1_790_000_000_000, Service: Key("service"),
		keys: map[string]*key.Private{}, records: map[string]*ring.Device{}}
}

// Key is the signing pair that a name stands for in every World.
func Key(name string) *key.Private {
	k, err := key.FromSeed(sha256.Sum256([]byte("ringtest " + name)))
	if err != nil {
		panic("ringtest: " + err.Error()) // 32 bytes always make a pair
	}
	return k
}

// Device is the record of the device of a name: lasting, unless the test
// changes the record before it is first used in a statement.
func (w *World) Device(name string) *ring.Device {
	if w.records[name] == nil {
		k := Key(name)
		w.keys[name] = k
		w.records[name] = &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: k.Public(), Seal: key.Encryption{1}}
	}
	return w.records[name]
}

// Signer is the key of the device of a name.
func (w *World) Signer(name string) *key.Private {
	w.Device(name)
	return w.keys[name]
}

// ID is the id of the device of a name.
func (w *World) ID(name string) signet.DeviceID { return w.Device(name).ID() }

// IDs is the ids of several.
func (w *World) IDs(names ...string) (list []signet.DeviceID) {
	for _, n := range names {
		list = append(list, w.ID(n))
	}
	return list
}

// Must ends the test on an error.
func (w *World) Must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// Try signs a statement as the device of a name, with claim's key too if it is
// not nil, and puts it into the directory.
func (w *World) Try(st *ring.Statement, signer string, claim *key.Private, blob []byte) error {
	w.T.Helper()
	var c key.Signer
	if claim != nil {
		c = claim
	}
	w.Must(st.Sign(w.Signer(signer), c))
	return w.Put(st.Bytes(), blob)
}

// Put orders a statement as an honest service does: checked, then applied.
func (w *World) Put(head, blob []byte) error {
	leaf, err := w.State.Check(head, blob, w.Now+1)
	if err != nil {
		return err
	}
	if err := w.State.Apply(leaf, head, blob); err != nil {
		w.T.Fatalf("checked, then refused: %v", err)
	}
	w.Now = leaf.Time
	w.Tree.Append(leaf.Append(nil))
	w.Log = append(w.Log, signet.Record{Leaf: leaf.Append(nil), Head: head, Blob: blob})
	return nil
}

// Checkpoint is a full one of the directory as it is.
func (w *World) Checkpoint() *chain.Checkpoint { return w.CheckpointAt(w.Tree.Size()) }

// CheckpointAt is a full one of the directory as it was.
func (w *World) CheckpointAt(size uint64) *chain.Checkpoint {
	w.T.Helper()
	root, err := w.Tree.RootAt(size)
	w.Must(err)
	c, err := chain.Sign(w.Service, signet.Directory(w.State.Org()), size, root, w.Now, true)
	w.Must(err)
	return c
}

// Replay is a device's own replay of what was stored.
func (w *World) Replay() *ring.State { return w.ReplayTo(uint64(len(w.Log))) }

// ReplayTo is a replay of the first statements.
func (w *World) ReplayTo(size uint64) *ring.State {
	w.T.Helper()
	s := ring.NewState(w.State.Org())
	for _, rec := range w.Log[:size] {
		leaf, err := ring.ParseLeaf(rec.Leaf)
		w.Must(err)
		w.Must(s.Apply(leaf, rec.Head, rec.Blob))
	}
	return s
}

// Envelopes is a list of envelopes to devices.
func Envelopes(ids ...signet.DeviceID) []byte {
	var l []ring.Envelope
	for _, i := range ids {
		l = append(l, ring.Envelope{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: i}, Sealed: []byte("sealed")})
	}
	return ring.AppendEnvelopes(nil, l)
}

// Next is a statement of a ring that follows its latest.
func (w *World) Next(typ ring.Type, r signet.RingID, signer string) *ring.Statement {
	seq, prev, _ := w.State.Head(r)
	return &ring.Statement{Type: typ, Org: w.State.Org(), Ring: r, Seq: seq, Prev: prev, Signer: w.ID(signer)}
}

// Root is the statement that makes the organisation.
func (w *World) Root(owner string) *ring.Statement {
	d := w.Device(owner)
	return &ring.Statement{Type: ring.Root, Signer: d.ID(), Device: d, LogKey: w.Service.Public(), Bootstrap: ring.BootstrapHash([32]byte{7})}
}

// Found makes the organisation with owner's first device, and returns its ring.
func (w *World) Found(owner string) signet.RingID {
	w.T.Helper()
	w.Must(w.Try(w.Root(owner), owner, nil, nil))
	r, err := w.Genesis(owner, ring.Claim{Kind: ring.ClaimRoot}, nil)
	w.Must(err)
	return r
}

// GenesisOf is the first statement of the ring of the device of a name, and
// its envelopes.
func (w *World) GenesisOf(name string, c ring.Claim) (*ring.Statement, []byte) {
	d := w.Device(name)
	blob := Envelopes(d.ID())
	return &ring.Statement{Type: ring.Genesis, Org: w.State.Org(), Signer: d.ID(), Device: d, Claim: c,
		Gen: &ring.NewGeneration{Number: 1, Public: key.Encryption{1}, Envelopes: ring.BlobHash(blob)}}, blob
}

// Genesis makes a ring.
func (w *World) Genesis(name string, c ring.Claim, invitation *key.Private) (signet.RingID, error) {
	st, blob := w.GenesisOf(name, c)
	err := w.Try(st, name, invitation, blob)
	return signet.RingID(st.Hash()), err
}

// Connect allows a connector of a name, whose key is Key(name).
func (w *World) Connect(name, by string) error {
	st := w.Next(ring.AllowConnector, signet.RingID(w.State.Org()), by)
	st.Device = w.Connector(name)
	return w.Try(st, by, nil, nil)
}

// Connector is the record of the connector of a name.
func (w *World) Connector(name string) *ring.Device {
	d := w.Device(name)
	d.Class, d.Seal = ring.Connector, key.Encryption{}
	return d
}

// Invitation is one signed by the device or connector of a name, whose key is
// Key(of).
func (w *World) Invitation(issuer, of string, expiry int64) *ring.Invitation {
	w.T.Helper()
	i := &ring.Invitation{Org: w.State.Org(), Claim: ring.ClaimOf(Key(of).Public()), Role: ring.RoleMember, Expiry: expiry, Issuer: w.ID(issuer)}
	w.Must(i.Sign(w.Signer(issuer)))
	i, err := ring.ParseInvitation(i.Bytes())
	w.Must(err)
	return i
}

// Redeem makes the ring of the device of a name with an invitation.
func (w *World) Redeem(name string, i *ring.Invitation, of string) (signet.RingID, error) {
	return w.Genesis(name, ring.Claim{Kind: ring.ClaimInvitation, Admit: i, Public: Key(of).Public()}, Key(of))
}

// Member invites the device of a name by an officer's and redeems it.
func (w *World) Member(officer, name string) signet.RingID {
	w.T.Helper()
	r, err := w.Redeem(name, w.Invitation(officer, "invitation of "+name, w.Now+1_000_000), "invitation of "+name)
	w.Must(err)
	return r
}

// Add adds a device to a ring.
func (w *World) Add(r signet.RingID, giver, newcomer string) error {
	d := w.Device(newcomer)
	reverse, err := ring.SignNewcomer(w.Signer(newcomer), w.State.Org(), r, d)
	w.Must(err)
	st, blob := w.AddOf(r, giver, d, reverse)
	return w.Try(st, giver, nil, blob)
}

// AddOf is a statement that adds a device, and its envelope.
func (w *World) AddOf(r signet.RingID, giver string, d *ring.Device, reverse []byte) (*ring.Statement, []byte) {
	st := w.Next(ring.Add, r, giver)
	st.Device, st.Reverse, st.Generation = d, reverse, signet.Generation(len(w.State.Generations(r)))
	blob := Envelopes(d.ID())
	st.Envelopes = ring.BlobHash(blob)
	return st, blob
}

// RekeyTo completes a statement with a generation sealed to ids, and puts it.
func (w *World) RekeyTo(st *ring.Statement, signer string, ids ...signet.DeviceID) error {
	blob := Envelopes(ids...)
	n := len(w.State.Generations(st.Ring)) + 1
	st.Gen = &ring.NewGeneration{Number: signet.Generation(n), Public: key.Encryption{byte(n)}, BackLink: []byte("back"), Envelopes: ring.BlobHash(blob)}
	return w.Try(st, signer, nil, blob)
}

// Rekey gives a ring its next generation, for the devices that it has.
func (w *World) Rekey(r signet.RingID, signer string) error {
	return w.RekeyTo(w.Next(ring.Rekey, r, signer), signer, w.State.Recipients(r, w.Now+1, signet.DeviceID{})...)
}

// Revoke removes a device, and rekeys unless it removes itself.
func (w *World) Revoke(r signet.RingID, signer, gone string) error {
	st := w.Next(ring.Revoke, r, signer)
	st.Gone = w.ID(gone)
	if signer == gone {
		return w.Try(st, signer, nil, nil)
	}
	return w.RekeyTo(st, signer, w.State.Recipients(r, w.Now+1, st.Gone)...)
}

// SignOut ends a device by itself.
func (w *World) SignOut(r signet.RingID, name string) error {
	return w.Try(w.Next(ring.SignOut, r, name), name, nil, nil)
}

// Draw makes a ring's statements as they are drawn, one per word:
//
//	a+b   a adds b
//	a-b   a revokes b and rekeys; a-a revokes itself
//	a*    a rekeys
//	a.    a signs itself out
//
// Every one must be accepted.
func (w *World) Draw(r signet.RingID, chain string) {
	w.T.Helper()
	for word := range strings.FieldsSeq(chain) {
		at := strings.IndexAny(word, "+-*.")
		if at < 0 {
			w.T.Fatalf("drawing: %q", word)
		}
		who, whom := word[:at], word[at+1:]
		var err error
		switch word[at] {
		case '+':
			err = w.Add(r, who, whom)
		case '-':
			err = w.Revoke(r, who, whom)
		case '*':
			err = w.Rekey(r, who)
		case '.':
			err = w.SignOut(r, who)
		}
		if err != nil {
			w.T.Fatalf("drawing: %s: %v", word, err)
		}
	}
}

// clone is a copy of a record to spoil.
func clone(r signet.Record) signet.Record {
	return signet.Record{Leaf: slices.Clone(r.Leaf), Head: slices.Clone(r.Head), Blob: slices.Clone(r.Blob)}
}
