package ringtest

import (
	"fmt"
	"strings"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
)

// A Journal is a region's journal as its service has it.
type Journal struct {
	*World
	ID    signet.RegionID
	State *journal.State // the service's own replay
	Log   []signet.Record
	count int
}

// Directory is what journals ask of the World's directory as it is now and
// will be.
func (w *World) Directory() journal.Directory {
	return journal.Directory{State: w.State, Tree: &w.Tree}
}

// DirectoryAt is a replica's directory of a size.
func (w *World) DirectoryAt(size uint64) journal.Directory {
	t := w.Tree
	t.Truncate(size)
	return journal.Directory{State: w.ReplayTo(size), Tree: &t}
}

// Founding is the genesis of a region of the ring r, not signed.
func (w *World) Founding(r signet.RingID, by string) *journal.Draft {
	f := &journal.Founding{Claim: signet.Hash{9}, SecretCommit: signet.Hash{8}, Public: key.Encryption{1}, Envelopes: sealTo(w.recipients(r))}
	return &journal.Draft{Header: journal.Header{Type: journal.Genesis, Org: w.State.Org(), Ring: r, Device: w.ID(by), Generation: 1},
		Dir: w.Checkpoint(), Body: f.Append(nil)}
}

// recipients is whom a region that belongs to r is sealed to.
func (w *World) recipients(r signet.RingID) (list []ring.Recipient) {
	size := w.State.Size()
	if g, ok := w.State.GenerationAt(r, size); ok && !w.State.StaleAt(r, g.Number, size) {
		return []ring.Recipient{{Kind: ring.ToRing, ID: r, Generation: g.Number}}
	}
	for _, m := range w.State.Members(r) {
		if !m.Gone {
			list = append(list, ring.Recipient{Kind: ring.ToDevice, ID: m.ID})
		}
	}
	return list
}

func sealTo(to []ring.Recipient) (list []ring.Envelope) {
	for _, r := range to {
		list = append(list, ring.Envelope{Recipient: r, Sealed: []byte("sealed")})
	}
	return list
}

// Region makes a region of the ring r.
func (w *World) Region(r signet.RingID, by string) *Journal {
	w.T.Helper()
	rec, hash := w.sign(w.Founding(r, by), by)
	j := &Journal{World: w, ID: signet.RegionID(hash)}
	j.State = journal.NewState(j.ID, w.Directory())
	_, err := j.Offer(rec)
	w.Must(err)
	return j
}

func (w *World) sign(d *journal.Draft, by string) (signet.Record, signet.Hash) {
	w.T.Helper()
	rec, hash, err := d.Sign(w.Signer(by))
	w.Must(err)
	return rec, hash
}

// Draft is an entry that follows all that is at hand, with an operation that
// nobody opens if it is a content entry. Tests spoil it, then call Sign.
func (j *Journal) Draft(typ journal.Type, by string) *journal.Draft {
	j.T.Helper()
	id := j.World.ID(by)
	r, _ := j.World.State.RingOf(id)
	d := &journal.Draft{Header: journal.Header{Type: typ, Org: j.World.State.Org(), Region: j.ID, Ring: r, Device: id,
		Authority: j.State.Latest(), Generation: j.State.Current().Number}, Seen: j.Checkpoint(), Dir: j.World.Checkpoint()}
	if typ.Authority() {
		return d
	}
	j.count++
	d.Own = j.State.Own(id)
	d.Count, d.Root, d.Sealed = 1, signet.Hash{1}, fmt.Appendf(nil, "operation %d", j.count)
	return d
}

// Rekey is a rekey to whom the directory says now.
func (j *Journal) Rekey(by string) *journal.Draft {
	j.T.Helper()
	return j.RekeyTo(by, j.State.Recipients(j.World.State.Size()))
}

// RekeyTo is a rekey to a list of recipients, right or wrong.
func (j *Journal) RekeyTo(by string, to []ring.Recipient) *journal.Draft {
	j.T.Helper()
	d := j.Draft(journal.Rekey, by)
	d.Generation++
	k := journal.NewKey{Number: d.Generation, Public: key.Encryption{byte(d.Generation)}, BackLink: []byte("back"), Envelopes: sealTo(to)}
	d.Body = k.Append(nil)
	return d
}

// Grant gives a ring a role.
func (j *Journal) Grant(by string, to signet.RingID, role journal.Role) *journal.Draft {
	j.T.Helper()
	d, g := j.Draft(journal.Grant, by), journal.Right{Ring: to, Role: role}
	d.Body = g.Append(nil)
	return d
}

// Complain is a complaint about an envelope of the current generation.
func (j *Journal) Complain(by string, about ring.Envelope) *journal.Draft {
	j.T.Helper()
	d, g := j.Draft(journal.Complaint, by), journal.GrievanceOf(&about)
	d.Body = g.Append(nil)
	return d
}

// Give adds envelopes of the current generation, right or wrong; no two of a
// Journal hold the same.
func (j *Journal) Give(by string, to ...ring.Recipient) *journal.Draft {
	j.T.Helper()
	d, list := j.Draft(journal.Envelope, by), sealTo(to)
	for i := range list {
		j.count++
		list[i].Sealed = fmt.Appendf(nil, "sealed again %d", j.count)
	}
	d.Body = ring.AppendEnvelopes(nil, list)
	return d
}

// End is a condemn, spare or collect.
func (j *Journal) End(typ journal.Type, by string, g journal.Ending) *journal.Draft {
	j.T.Helper()
	d := j.Draft(typ, by)
	d.Body = g.Append(nil, typ)
	return d
}

// Point is a content entry with nothing in it.
func (j *Journal) Point(by string) *journal.Draft {
	j.T.Helper()
	d := j.Draft(journal.Content, by)
	d.Count, d.Root, d.Sealed = 0, signet.Hash{}, nil
	return d
}

// Snapshot is one at a digest point.
func (j *Journal) Snapshot(by string, at uint64) *journal.Draft {
	j.T.Helper()
	d := j.Draft(journal.Snapshot, by)
	d.DigestAt, d.Digest = at, signet.Hash{byte(at)}
	return d
}

// Limit is a horizon.
func (j *Journal) Limit(by string, l journal.Limit) *journal.Draft {
	j.T.Helper()
	d := j.Draft(journal.Limiting, by)
	d.Body = l.Append(nil)
	return d
}

// Sign signs a draft as the device of a name.
func (j *Journal) Sign(d *journal.Draft, by string) signet.Record {
	j.T.Helper()
	rec, _ := j.sign(d, by)
	return rec
}

// Checkpoint is a tip of the journal as it is.
func (j *Journal) Checkpoint() *chain.Checkpoint { return j.CheckpointAt(j.State.Size()) }

// CheckpointAt is a tip of the journal as it was.
func (j *Journal) CheckpointAt(size uint64) *chain.Checkpoint {
	j.T.Helper()
	root, err := j.State.Tree.RootAt(size)
	j.Must(err)
	c, err := chain.Sign(j.Service, signet.Journal(j.ID), size, root, j.Now, false)
	j.Must(err)
	return c
}

// Offer orders a record as an honest service does.
func (j *Journal) Offer(rec signet.Record) (*journal.Entry, error) {
	j.T.Helper()
	if _, err := j.State.Check(rec.Head, rec.Blob, j.Now+1); err != nil {
		return nil, err
	}
	e, reason, err := j.Force(rec)
	if reason != nil || err != nil {
		j.T.Fatalf("checked, then refused: %v, %v", reason, err)
	}
	return e, nil
}

// Force orders a record as a service does that does not check.
func (j *Journal) Force(rec signet.Record) (*journal.Entry, error, error) {
	j.T.Helper()
	rec = clone(rec)
	hash, err := journal.HashOf(rec.Head)
	j.Must(err)
	leaf := journal.Leaf{Hash: hash, Time: j.Now + 1}
	e, reason, err := j.State.Apply(leaf, rec.Head, rec.Blob)
	if err != nil {
		return nil, nil, err
	}
	j.Now++
	rec.Leaf = leaf.Append(nil)
	j.Log = append(j.Log, rec)
	return e, reason, nil
}

// Draw writes entries as they are drawn, one per word:
//
//	a     a writes a content entry
//	a*    a rekeys
//	a!    a writes a marker
//
// Every one must be accepted.
func (j *Journal) Draw(entries string) {
	j.T.Helper()
	for word := range strings.FieldsSeq(entries) {
		by, what := strings.TrimRight(word, "*!"), word[len(strings.TrimRight(word, "*!")):]
		var d *journal.Draft
		switch what {
		case "":
			d = j.Draft(journal.Content, by)
		case "*":
			d = j.Rekey(by)
		case "!":
			d = j.Draft(journal.Marker, by)
		default:
			j.T.Fatalf("drawing: %q", word)
		}
		if _, err := j.Offer(j.Sign(d, by)); err != nil {
			j.T.Fatalf("drawing: %s: %v", word, err)
		}
	}
}

// A Replica is a device's replay of a journal: its state, and of each entry
// whether it had effect.
type Replica struct {
	State *journal.State
	Valid []bool
	Back  []bool // flagged as back-dated
}

// Replay replays the journal with a directory; where whole is false, content
// entries come without their parts.
func (j *Journal) Replay(dir journal.Directory, whole bool) Replica {
	j.T.Helper()
	r := Replica{State: journal.NewState(j.ID, dir)}
	for _, rec := range j.Log {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		j.Must(err)
		h, err := journal.IDOf(rec.Head)
		blob := rec.Blob
		if err == nil && !h.Type.Authority() && !whole {
			blob = nil
		}
		e, _, err := r.State.Apply(leaf, rec.Head, blob)
		j.Must(err)
		r.Valid = append(r.Valid, e != nil)
		r.Back = append(r.Back, e != nil && e.BackDated)
	}
	return r
}
