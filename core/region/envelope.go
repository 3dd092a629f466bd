package region

import (
	"errors"
	"fmt"
	"slices"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/seal"
)

// A BadEnvelope is the error where a generation was sealed to this device and
// nothing that it was given opens to the key that the generation commits to.
// It is no alarm about the journal: the device complains (Complain), and waits
// until another that holds the key seals it again. It wraps what seal said, and
// so signet.ErrNotVerified.
type BadEnvelope struct {
	Region     signet.RegionID
	Generation signet.Generation
	To         ring.Recipient
	Giver      signet.DeviceID // who sealed it
	Complained bool            // somebody complained of it
	Err        error
	grievance  journal.Grievance
}

func (b *BadEnvelope) Error() string {
	return fmt.Sprintf("%s: key of generation %d, given by %s: %v", b.Region, b.Generation, b.Giver, b.Err)
}

// Unwrap is what opening it said.
func (b *BadEnvelope) Unwrap() error { return b.Err }

// openEnvelope opens what this device was given of a generation, the newest
// first. ErrNoKey if it was given nothing; *BadEnvelope if nothing opens, about
// one that was not complained of if there is such a one.
func (r *Region) openEnvelope(g *journal.Generation) error {
	var bad *BadEnvelope
	for i := len(g.Envelopes) - 1; i >= 0; i-- {
		e := &g.Envelopes[i]
		var opener seal.Opener
		switch {
		case e.Kind == ring.ToDevice && signet.DeviceID(e.ID) == r.self.Device:
			opener = r.self.Opener
		case e.Kind == ring.ToRing && signet.RingID(e.ID) == r.self.Ring && r.keys().Seed(e.Generation) != nil:
			opener = r.keys().Seed(e.Generation).Opener()
		default:
			continue
		}
		c := regionContext(r.self.Org, r.ID(), g.Number, e.Recipient, e.Giver)
		founding := r.State.Founding()
		if g.Number == 1 && i < g.First { // sealed before the region had an id
			c.Owner = founding.Claim
		}
		seed, secret, err := seal.OpenEnvelope(c, opener, e.Sealed, g.Public, founding.SecretCommit)
		if err == nil {
			r.seeds[g.Number], r.secret = seed, secret
			return nil
		}
		if done := r.State.Complained(e); bad == nil || bad.Complained && !done {
			bad = &BadEnvelope{Region: r.ID(), Generation: g.Number, To: e.Recipient, Giver: e.Giver, Complained: done, Err: err,
				grievance: journal.GrievanceOf(e)}
		}
	}
	if bad != nil {
		return bad
	}
	return fmt.Errorf("%s, generation %d: %w", r.ID(), g.Number, ErrNoKey)
}

// OpenKey opens the key of the current generation: ErrNoKey where this device
// was not given one, *BadEnvelope where it does not open. Nil before the
// genesis.
func (r *Region) OpenKey() error {
	g := r.State.Current().Number
	if g == 0 {
		return nil
	}
	_, err := r.seed(g)
	return err
}

// Mend makes the record that the region's keys need from this device now, if
// any: a complaint of what it cannot open; what it holds and others lack, at
// head, the newest checkpoint of the directory. ok is false where nothing is to
// be done, or nothing can be.
func (r *Region) Mend(head *chain.Checkpoint) (rec signet.Record, ok bool, err error) {
	err = r.OpenKey()
	var bad *BadEnvelope
	if errors.As(err, &bad) && !bad.Complained && bad.Generation == r.State.Current().Number {
		rec, err = r.authority(journal.Complaint, head, bad.grievance.Append(nil))
		return rec, err == nil, err
	}
	if err != nil || r.State.Role(r.self.Ring) < journal.Reader || !r.State.Holds(r.self.Ring, r.self.Device) {
		return rec, false, nil
	}
	to := r.lacking(head.Size)
	switch {
	case len(to) == 0:
		return rec, false, nil
	case !r.State.StaleAt(head.Size):
		rec, err = r.envelopes(head, to)
	case r.MayWrite() && r.complained():
		// Nobody is given a stale key; the next one has envelopes for all. Without
		// a complaint that can wait until somebody writes.
		rec, err = r.Rekey(head)
	default:
		return rec, false, nil
	}
	return rec, err == nil, err
}

// lacking is to whom this device may seal the current generation: not where it
// did so before, which its recipient says does not open.
func (r *Region) lacking(size uint64) []ring.Recipient {
	return slices.DeleteFunc(r.State.Lacking(size), func(to ring.Recipient) bool {
		return slices.ContainsFunc(r.State.Current().Envelopes, func(e ring.Envelope) bool {
			return e.Recipient == to && e.Giver == r.self.Device
		})
	})
}

func (r *Region) complained() bool {
	return slices.ContainsFunc(r.State.Current().Envelopes, func(e ring.Envelope) bool { return r.State.Complained(&e) })
}

// envelopes adds envelopes of the current generation.
func (r *Region) envelopes(head *chain.Checkpoint, to []ring.Recipient) (signet.Record, error) {
	g := r.State.Current().Number
	seed, err := r.seed(g)
	if err != nil {
		return signet.Record{}, err
	}
	list, err := sealAll(r.dir.State, r.self, r.ID(), g, to, seed, r.secret)
	if err != nil {
		return signet.Record{}, err
	}
	return r.authority(journal.Envelope, head, ring.AppendEnvelopes(nil, list))
}

// authority makes an authority entry of the current generation.
func (r *Region) authority(t journal.Type, head *chain.Checkpoint, body []byte) (signet.Record, error) {
	d, err := r.draft(t, head)
	if err != nil {
		return signet.Record{}, err
	}
	d.Body = body
	rec, _, err := d.Sign(r.self.Signer)
	return rec, err
}

// Whole checks that rec is the record at a position that Take accepted before,
// with all its parts: to keep it for a Replay that must wait for a key.
func (r *Region) Whole(position uint64, rec signet.Record) error {
	h, err := journal.IDOf(rec.Head)
	if position < uint64(len(r.valid)) && r.valid[position] || err == nil && h.Type.Authority() {
		_, err := journal.Reopen(r.State, position, rec)
		return err
	}
	leaf, err := journal.ParseLeaf(rec.Leaf)
	if err != nil {
		return errors.Join(err, signet.ErrNotVerified)
	}
	if position >= r.State.Size() || r.State.Tree.Leaf(position) != chain.LeafHash(rec.Leaf) || key.Sum(key.LabelEntryHash, rec.Head) != leaf.Hash {
		return fmt.Errorf("%s: entry %d: not the one that was verified: %w", r.ID(), position, signet.ErrNotVerified)
	}
	return nil
}
