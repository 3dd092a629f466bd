package region

import (
	"errors"
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/seal"
)

// A Self is the device that acts: who it is and what it can do. Label is its
// name, for the names of conflict copies; only sealed operations carry it.
type Self struct {
	Org    signet.OrgID
	Ring   signet.RingID
	Device signet.DeviceID
	Signer key.Signer
	Opener seal.Opener
	Label  string
}

// Keys are the keys of the ring that a device belongs to, as far as its
// envelopes and the back-links open them.
type Keys struct {
	ring   signet.RingID
	seeds  map[signet.Generation]*seal.Seed
	newest signet.Generation
	secret *seal.Secret
}

// Newest is the newest generation that the device holds.
func (k *Keys) Newest() signet.Generation { return k.newest }

// Secret is the ring's secret.
func (k *Keys) Secret() *seal.Secret { return k.secret }

// Seed is the seed of a generation, or nil.
func (k *Keys) Seed(g signet.Generation) *seal.Seed { return k.seeds[g] }

// ErrNoKey says that no envelope is there for this device: it is not a member,
// or left before the generation was made.
var ErrNoKey = fmt.Errorf("no envelope for this device: %w", signet.ErrNotAllowed)

// OpenKeys opens the keys of the ring of self from the directory: the newest
// envelope that is for it, and through the back-links every older generation.
func OpenKeys(dir *ring.State, self *Self) (*Keys, error) {
	gens := dir.Generations(self.Ring)
	k := &Keys{ring: self.Ring, seeds: map[signet.Generation]*seal.Seed{}}
	for i := len(gens) - 1; i >= 0 && k.newest == 0; i-- {
		for _, e := range gens[i].Envelopes {
			if e.Kind != ring.ToDevice || signet.DeviceID(e.ID) != self.Device {
				continue
			}
			seed, secret, err := seal.OpenEnvelope(ringContext(dir, self, gens[i].Number, e.Giver, signet.DeviceID(e.ID)),
				self.Opener, e.Sealed, gens[i].Public, dir.SecretCommit(self.Ring))
			if err != nil {
				return nil, fmt.Errorf("key of %s, generation %d, given by %s: %w", self.Ring, gens[i].Number, e.Giver, err)
			}
			k.seeds[gens[i].Number], k.secret, k.newest = seed, secret, gens[i].Number
		}
	}
	if k.newest == 0 {
		return nil, ErrNoKey
	}
	for g := k.newest; g > 1; g-- {
		prev, err := seal.OpenBack(ringBack(self, g), k.seeds[g], gens[g-1].BackLink, gens[g-2].Public)
		if err != nil {
			return nil, fmt.Errorf("back-link of %s, generation %d: %w", self.Ring, g, err)
		}
		k.seeds[g-1] = prev
	}
	return k, nil
}

// ringContext is what an envelope of a ring's generation is bound to. In the
// first generation the claim stands for the ring's id, which is the hash of
// the genesis that the envelope is part of; an Add later binds to the id.
func ringContext(dir *ring.State, self *Self, g signet.Generation, giver, to signet.DeviceID) seal.Context {
	c := seal.Context{Org: self.Org, OwnerKind: seal.OfRing, Owner: self.Ring, Generation: g,
		RecipientKind: seal.ToDevice, Recipient: to, Giver: giver}
	if giver == to && g == 1 { // a prime device seals to itself in the genesis, and nowhere else
		c.Owner = dir.ClaimOf(self.Ring)
	}
	return c
}

func ringBack(self *Self, g signet.Generation) seal.BackContext {
	return seal.BackContext{Org: self.Org, OwnerKind: seal.OfRing, Owner: self.Ring, Generation: g}
}

// A Founder makes rings: what a prime device needs before it has a ring.
type Founder struct {
	Device *ring.Device
	Signer key.Signer
}

// Root makes the organisation's root statement, and so its id.
func (f *Founder) Root(logKey *key.Public, bootstrap [32]byte) (signet.Record, signet.OrgID, error) {
	st := &ring.Statement{Type: ring.Root, Signer: f.Device.ID(), Device: f.Device, LogKey: logKey, Bootstrap: ring.BootstrapHash(bootstrap)}
	if err := st.Sign(f.Signer, nil); err != nil {
		return signet.Record{}, signet.OrgID{}, err
	}
	return signet.Record{Head: st.Bytes()}, signet.OrgID(st.Hash()), nil
}

// Genesis makes the device's own ring: its first key, sealed to the device
// alone. invitation is nil for the device that made the organisation.
func (f *Founder) Genesis(org signet.OrgID, admit *ring.Invitation, invitation key.Signer) (signet.Record, signet.RingID, error) {
	seed, err := seal.NewSeed(nil)
	if err != nil {
		return signet.Record{}, signet.RingID{}, err
	}
	secret := seal.NewSecret()
	id := f.Device.ID()
	st := &ring.Statement{Type: ring.Genesis, Org: org, Signer: id, Device: f.Device,
		SecretCommit: secret.Commit(seal.OfRing), Claim: ring.Claim{Kind: ring.ClaimRoot}}
	if invitation != nil {
		st.Claim = ring.Claim{Kind: ring.ClaimInvitation, Admit: admit, Public: invitation.Public()}
	}
	sealed, err := seal.SealEnvelope(seal.Context{Org: org, OwnerKind: seal.OfRing, Owner: st.ClaimHash(), Generation: 1,
		RecipientKind: seal.ToDevice, Recipient: id, Giver: id}, f.Device.Seal, seed, secret)
	if err != nil {
		return signet.Record{}, signet.RingID{}, err
	}
	blob := ring.AppendEnvelopes(nil, []ring.Envelope{{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: id}, Sealed: sealed}})
	st.Gen = &ring.NewGeneration{Number: 1, Public: seed.Public(), Envelopes: ring.BlobHash(blob)}
	if err := st.Sign(f.Signer, invitation); err != nil {
		return signet.Record{}, signet.RingID{}, err
	}
	return signet.Record{Head: st.Bytes(), Blob: blob}, signet.RingID(st.Hash()), nil
}

// next begins a statement that follows the latest of a ring.
func (s *Self) next(dir *ring.State, t ring.Type, r signet.RingID) *ring.Statement {
	seq, prev, _ := dir.Head(r)
	return &ring.Statement{Type: t, Org: s.Org, Ring: r, Seq: seq, Prev: prev, Signer: s.Device}
}

func (s *Self) sign(st *ring.Statement, blob []byte) (signet.Record, error) {
	if err := st.Sign(s.Signer, nil); err != nil {
		return signet.Record{}, err
	}
	return signet.Record{Head: st.Bytes(), Blob: blob}, nil
}

// AllowConnector lets a connector admit members; only an owner's device can.
func (s *Self) AllowConnector(dir *ring.State, connector *ring.Device) (signet.Record, error) {
	st := s.next(dir, ring.AllowConnector, signet.RingID(s.Org))
	st.Device = connector
	return s.sign(st, nil)
}

// Add makes the statement that adds a device to the ring of self: the ring's
// key, sealed to the newcomer's own.
func (s *Self) Add(dir *ring.State, k *Keys, newcomer *ring.Device, reverse []byte) (signet.Record, error) {
	g, ok := dir.GenerationAt(s.Ring, dir.Size())
	if !ok || k.seeds[g.Number] == nil {
		return signet.Record{}, ErrNoKey
	}
	id := newcomer.ID()
	c := seal.Context{Org: s.Org, OwnerKind: seal.OfRing, Owner: s.Ring, Generation: g.Number,
		RecipientKind: seal.ToDevice, Recipient: id, Giver: s.Device}
	sealed, err := seal.SealEnvelope(c, newcomer.Seal, k.seeds[g.Number], k.secret)
	if err != nil {
		return signet.Record{}, err
	}
	blob := ring.AppendEnvelopes(nil, []ring.Envelope{{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: id}, Sealed: sealed}})
	st := s.next(dir, ring.Add, s.Ring)
	st.Device, st.Reverse, st.Generation, st.Envelopes = newcomer, reverse, g.Number, ring.BlobHash(blob)
	return s.sign(st, blob)
}

// Revoke makes the statement that removes a device and gives the others a new
// key. A device that removes itself gives none: the next of the others does.
func (s *Self) Revoke(dir *ring.State, k *Keys, gone signet.DeviceID, now int64) (signet.Record, error) {
	st := s.next(dir, ring.Revoke, s.Ring)
	st.Gone = gone
	if gone == s.Device {
		return s.sign(st, nil)
	}
	return s.withGeneration(dir, k, st, gone, now)
}

// RekeyRing makes the statement that starts a generation for the same devices.
func (s *Self) RekeyRing(dir *ring.State, k *Keys, now int64) (signet.Record, error) {
	return s.withGeneration(dir, k, s.next(dir, ring.Rekey, s.Ring), signet.DeviceID{}, now)
}

func (s *Self) withGeneration(dir *ring.State, k *Keys, st *ring.Statement, gone signet.DeviceID, now int64) (signet.Record, error) {
	g, ok := dir.GenerationAt(s.Ring, dir.Size())
	if !ok || k.seeds[g.Number] == nil {
		return signet.Record{}, ErrNoKey
	}
	prev := k.seeds[g.Number]
	seed, err := seal.NewSeed(prev)
	if err != nil {
		return signet.Record{}, err
	}
	n := g.Number + 1
	back, err := seal.SealBack(ringBack(s, n), seed, prev)
	if err != nil {
		return signet.Record{}, err
	}
	var list []ring.Envelope
	for _, d := range dir.Recipients(s.Ring, now, gone) {
		c := seal.Context{Org: s.Org, OwnerKind: seal.OfRing, Owner: s.Ring, Generation: n,
			RecipientKind: seal.ToDevice, Recipient: d, Giver: s.Device}
		sealed, err := seal.SealEnvelope(c, dir.Device(d).Seal, seed, k.secret)
		if err != nil {
			return signet.Record{}, err
		}
		list = append(list, ring.Envelope{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: d}, Sealed: sealed})
	}
	blob := ring.AppendEnvelopes(nil, list)
	st.Gen = &ring.NewGeneration{Number: n, Public: seed.Public(), BackLink: back, Envelopes: ring.BlobHash(blob)}
	return s.sign(st, blob)
}

// RingStale reports whether the ring of self must be rekeyed before anybody
// seals to it or adds a device.
func (s *Self) RingStale(dir *ring.State) bool {
	g, ok := dir.GenerationAt(s.Ring, dir.Size())
	return ok && dir.StaleAt(s.Ring, g.Number, dir.Size())
}

// SealRecord makes the sealed record that says text of subject.
func (s *Self) SealRecord(k *Keys, subject [32]byte, version uint64, text []byte) ([]byte, error) {
	r := &ring.Record{Org: s.Org, Ring: s.Ring, Subject: subject, Version: version, Generation: k.newest, Signer: s.Device}
	var err error
	if r.Sealed, err = seal.SealRecord(k.seeds[k.newest], r.Context(), text); err != nil {
		return nil, err
	}
	return r.Sign(s.Signer)
}

// OpenRecord verifies and opens a sealed record of the ring of k.
func OpenRecord(dir *ring.State, k *Keys, raw []byte) (*ring.Record, []byte, error) {
	r, err := ring.ParseRecord(raw)
	if err != nil {
		return nil, nil, errors.Join(err, signet.ErrNotVerified)
	}
	if err := dir.VerifyRecord(r); err != nil {
		return nil, nil, err
	}
	seed := k.seeds[r.Generation]
	if seed == nil || r.Ring != k.ring {
		return nil, nil, fmt.Errorf("sealed record under generation %d: %w", r.Generation, ErrNoKey)
	}
	text, err := seal.OpenRecord(seed, r.Context(), r.Sealed)
	return r, text, err
}
