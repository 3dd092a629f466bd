package region

import (
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
)

// Make makes the genesis of a region that the ring of self owns. count is how
// many regions of that name the ring made before: two devices that make the
// same one at once claim the same, and one of them wins.
func Make(dir *ring.State, head *chain.Checkpoint, self *Self, keys *Keys, name string, count uint32) (signet.Record, signet.RegionID, error) {
	seed, err := seal.NewSeed(nil)
	if err != nil {
		return signet.Record{}, signet.RegionID{}, err
	}
	secret := seal.NewSecret()
	f := &journal.Founding{Claim: keys.secret.RegionClaim(name, count), SecretCommit: secret.Commit(seal.OfRegion), Public: seed.Public()}
	fail := func(err error) (signet.Record, signet.RegionID, error) {
		return signet.Record{}, signet.RegionID{}, err
	}
	g, ok := dir.GenerationAt(self.Ring, head.Size)
	if !ok || dir.StaleAt(self.Ring, g.Number, head.Size) {
		return fail(fmt.Errorf("%s: %w", self.Ring, signet.ErrStale))
	}
	to := ring.Recipient{Kind: ring.ToRing, ID: self.Ring, Generation: g.Number}
	if f.Envelopes, err = sealAll(dir, self, f.Claim, 1, []ring.Recipient{to}, seed, secret); err != nil {
		return fail(err)
	}
	item, err := tree.NewItem(tree.Op{Kind: tree.Move, Node: signet.RootNode, Name: name})
	if err != nil {
		return fail(err)
	}
	d := &journal.Draft{Header: journal.Header{Type: journal.Genesis, Org: self.Org, Ring: self.Ring, Device: self.Device, Generation: 1},
		Dir: head, Body: f.Append(nil)}
	if err := sealBatch(d, self, seed, []tree.Item{item}); err != nil {
		return fail(err)
	}
	rec, hash, err := d.Sign(self.Signer)
	return rec, signet.RegionID(hash), err
}

// sealAll seals a key to every recipient.
func sealAll(dir *ring.State, self *Self, owner [32]byte, g signet.Generation, to []ring.Recipient, seed *seal.Seed, secret *seal.Secret) ([]ring.Envelope, error) {
	var list []ring.Envelope
	for _, t := range to {
		pub, ok := publicKey(dir, t)
		if !ok {
			return nil, fmt.Errorf("no key of recipient of kind %d: %w", t.Kind, signet.ErrNotFound)
		}
		sealed, err := seal.SealEnvelope(regionContext(self.Org, owner, g, t, self.Device), pub, seed, secret)
		if err != nil {
			return nil, err
		}
		list = append(list, ring.Envelope{Recipient: t, Sealed: sealed})
	}
	return list, nil
}

// sealBatch puts sealed operations into a draft.
func sealBatch(d *journal.Draft, self *Self, seed *seal.Seed, items []tree.Item) error {
	if len(items) == 0 {
		return nil
	}
	b, err := tree.NewBatch(self.Label, items)
	if err != nil {
		return err
	}
	d.Count, d.Root = uint16(len(items)), b.Root()
	d.Sealed, err = seal.SealOps(seed, opsContext(self.Org, d.Region, self.Device, d.Generation, d.Type), b.Bytes())
	return err
}

// Stale reports whether the region's key must be replaced before the next
// write: a device that could open it was revoked, as far as the directory at
// hand tells.
func (r *Region) Stale() bool { return r.State.StaleAt(r.dir.Size()) }

// MayWrite reports whether self's ring may write here.
func (r *Region) MayWrite() bool { return r.State.Role(r.self.Ring) >= journal.Writer }

// draft begins an entry that follows what is at hand. head is the newest
// checkpoint of the directory.
func (r *Region) draft(t journal.Type, head *chain.Checkpoint) (*journal.Draft, error) {
	seen := r.Follower.Last
	if seen == nil {
		return nil, fmt.Errorf("%s: no checkpoint yet: %w", r.ID(), signet.ErrUnavailable)
	}
	d := &journal.Draft{Header: journal.Header{Type: t, Org: r.self.Org, Region: r.ID(), Ring: r.self.Ring, Device: r.self.Device,
		Authority: r.State.Latest(), Generation: r.State.Current().Number}, Seen: seen, Dir: head}
	if !t.Authority() {
		d.Own = r.State.Own(r.self.Device)
		// The digest is of a point that the observed head covers.
		if r.point > 0 && r.point <= seen.Size && t != journal.Snapshot {
			d.DigestAt, d.Digest = r.point, r.digests[r.point]
		}
	}
	return d, nil
}

// Commit makes the record of an entry with operations, and with the ids of the
// objects that they bring. Without both it is a point. ErrStale: Rekey first.
func (r *Region) Commit(head *chain.Checkpoint, items []tree.Item, objects []signet.ObjectID) (signet.Record, signet.Hash, error) {
	if r.Stale() {
		return signet.Record{}, signet.Hash{}, fmt.Errorf("%s: %w", r.ID(), signet.ErrStale)
	}
	d, err := r.draft(journal.Content, head)
	if err != nil {
		return signet.Record{}, signet.Hash{}, err
	}
	seed, err := r.seed(d.Generation)
	if err != nil {
		return signet.Record{}, signet.Hash{}, err
	}
	if err := sealBatch(d, r.self, seed, items); err != nil {
		return signet.Record{}, signet.Hash{}, err
	}
	d.IDs = objects
	return d.Sign(r.self.Signer)
}

// Grant makes the record that gives a ring a role here, whatever it had
// before. The key comes to a ring that had none by Mend, of any device that
// holds it. ErrNotFound where the ring's statements are not known here: who
// seals to it must know them.
func (r *Region) Grant(head *chain.Checkpoint, to signet.RingID, role journal.Role) (signet.Record, error) {
	if _, known := r.dir.GenerationAt(to, head.Size); !known {
		return signet.Record{}, fmt.Errorf("%s: grant to %s: %w", r.ID(), to, signet.ErrNotFound)
	}
	g := journal.Right{Ring: to, Role: role}
	return r.authority(journal.Grant, head, g.Append(nil))
}

// Rekey makes the record that starts the next generation: sealed to every ring
// that may read, at its fresh generation, or past a stale ring to its devices.
// Any writer can, whoever else is offline.
func (r *Region) Rekey(head *chain.Checkpoint) (signet.Record, error) {
	current := r.State.Current().Number
	prev, err := r.seed(current)
	if err != nil {
		return signet.Record{}, err
	}
	seed, err := seal.NewSeed(prev)
	if err != nil {
		return signet.Record{}, err
	}
	k := &journal.NewKey{Number: current + 1, Public: seed.Public()}
	if k.BackLink, err = seal.SealBack(r.back(k.Number), seed, prev); err != nil {
		return signet.Record{}, err
	}
	if k.Envelopes, err = sealAll(r.dir.State, r.self, r.ID(), k.Number, r.State.Recipients(head.Size), seed, r.secret); err != nil {
		return signet.Record{}, err
	}
	d, err := r.draft(journal.Rekey, head)
	if err != nil {
		return signet.Record{}, err
	}
	d.Generation, d.Body = k.Number, k.Append(nil)
	rec, _, err := d.Sign(r.self.Signer)
	return rec, err
}

// End makes the record of a condemn, spare or collect of objects.
func (r *Region) End(t journal.Type, head *chain.Checkpoint, g journal.Ending) (signet.Record, error) {
	d, err := r.draft(t, head)
	if err != nil {
		return signet.Record{}, err
	}
	d.Body = g.Append(nil, t)
	rec, _, err := d.Sign(r.self.Signer)
	return rec, err
}
