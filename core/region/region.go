// Package region is an open region: where what the journal proves and what the
// keys open come together.
//
// It promises that nothing reaches the tree that core/journal did not verify,
// that what is committed is sealed under a generation which no revoked device
// holds, and that a tree whose digest another device's disagrees with is an
// alarm. It does no I/O: records come in, records go out; who fetches, stores
// and sends them is the caller's business. It starts no goroutine and is used
// by one at a time.
//
// Source: spec/journal.md, spec/operations.md, spec/envelope.md.
package region

import (
	"errors"
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
)

// A Region is a region as one device knows it.
type Region struct {
	State    *journal.State
	Follower chain.Follower
	Tree     *tree.Tree // replayed up to Replayed()

	self     *Self
	keys     func() *Keys // the ring's keys, which grow when the ring is rekeyed
	dir      journal.Directory
	seeds    map[signet.Generation]*seal.Seed
	secret   *seal.Secret
	replayed uint64
	valid    []bool                 // by position: whether the entry had effect
	digests  map[uint64]signet.Hash // by digest point
	point    uint64                 // the last digest point replayed
	since    int                    // operations replayed since the last snapshot
	snapshot *Snapshot              // newest one that may be believed, not loaded
	start    Start                  // where the tree began
	vouched  bool                   // and a device of our ring has the same

	// before, if set, sees operations before they are replayed.
	before func(e tree.Entry, b *tree.Batch)
}

// New is a region of which nothing was read yet.
func New(id signet.RegionID, dir journal.Directory, self *Self, keys func() *Keys) *Region {
	return &Region{State: journal.NewState(id, dir), Follower: chain.Follower{Log: signet.Journal(id)}, Tree: tree.New(),
		self: self, keys: keys, dir: dir, seeds: map[signet.Generation]*seal.Seed{}, digests: map[uint64]signet.Hash{}}
}

// ID is the region's id.
func (r *Region) ID() signet.RegionID { return r.State.Region() }

// Name is what its members call it; empty before the genesis is replayed.
func (r *Region) Name() string {
	n, _ := r.Tree.Node(signet.RootNode)
	return n.Name
}

// Secret keys the region's ids and sums; nil before its envelope was opened.
func (r *Region) Secret() *seal.Secret { return r.secret }

// Replayed is the number of entries that the tree holds.
func (r *Region) Replayed() uint64 { return r.replayed }

// Valid reports whether the entry at a position had effect.
func (r *Region) Valid(position uint64) bool { return r.valid[position] }

// A Step is what one entry did.
type Step struct {
	Position uint64
	Entry    *journal.Entry // nil if the entry had no effect
	Reason   error          // why not, if Entry is nil
	Batch    *tree.Batch    // nil if it has no operations
	Outcomes []tree.Outcome
	Events   []tree.Event
	// Unopened says why the operations of a valid entry were not replayed: its
	// writer sealed nonsense. Every replica skips them alike.
	Unopened error
}

// ErrDigest says that another device's tree differs from ours, though both
// read the same journal.
var ErrDigest = fmt.Errorf("state digest differs: %w", signet.ErrNotVerified)

// Take verifies the next record of the journal. rec must come with its leaf
// and head, and with its blob if the entry is of authority. It does not touch
// the tree: Replay does.
func (r *Region) Take(rec signet.Record) (*journal.Entry, error, error) {
	leaf, err := journal.ParseLeaf(rec.Leaf)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: leaf %d: %w", r.ID(), r.State.Size(), errors.Join(err, signet.ErrNotVerified))
	}
	e, reason, err := r.State.Apply(leaf, rec.Head, rec.Blob)
	if err != nil {
		return nil, nil, err
	}
	r.valid = append(r.valid, e != nil)
	if e != nil && e.Type == journal.Snapshot {
		r.noteSnapshot(e)
	}
	return e, reason, nil
}

// Replay brings the tree one entry further: rec is the whole record at
// position Replayed(), which Take accepted before.
func (r *Region) Replay(rec signet.Record) (Step, error) {
	s := Step{Position: r.replayed}
	if s.Position >= r.State.Size() {
		return s, fmt.Errorf("%s: replay of entry %d before it was verified", r.ID(), s.Position)
	}
	if r.valid[s.Position] {
		e, err := journal.Reopen(r.State, s.Position, rec)
		if err != nil {
			return s, err
		}
		if e.Dropped {
			return s, fmt.Errorf("%s: entry %d: %w", r.ID(), s.Position, journal.ErrDropped)
		}
		s.Entry = e
		if err := r.open(e, &s); err != nil {
			return s, err
		}
	}
	r.replayed++
	if s.Entry != nil && s.Entry.Type == journal.Snapshot && s.Entry.DigestAt+journal.DigestEvery > s.Position {
		r.since = 0
	}
	if err := r.compare(s.Entry); err != nil {
		return s, err
	}
	if r.replayed%journal.DigestEvery == 0 || s.Entry != nil && s.Entry.Type == journal.Content && s.Entry.Count == 0 && len(s.Entry.Objects) == 0 {
		r.point = r.replayed
		r.digests[r.point] = r.digest()
	}
	return s, nil
}

func (r *Region) digest() signet.Hash {
	if r.secret == nil {
		return signet.Hash{}
	}
	return r.Tree.Digest(tree.DigestKey(r.secret.DigestKey()))
}

// open replays the operations of a valid entry.
func (r *Region) open(e *journal.Entry, s *Step) error {
	if len(e.Sealed) == 0 || e.Type == journal.Snapshot {
		return nil
	}
	var err error
	if s.Batch, s.Unopened, err = r.batch(e); err != nil || s.Unopened != nil {
		return err
	}
	te := r.of(e)
	if r.before != nil {
		r.before(te, s.Batch)
	}
	s.Outcomes = r.Tree.Apply(te, s.Batch)
	s.Events = r.Tree.Events(te, s.Batch, s.Outcomes)
	r.since += len(s.Batch.Items)
	return nil
}

// batch is the operations of an entry that has some. unopened says why nobody can
// open them.
func (r *Region) batch(e *journal.Entry) (b *tree.Batch, unopened, err error) {
	seed, err := r.seed(e.Generation)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: entry %d: %w", r.ID(), e.Position, err)
	}
	plain, err := seal.OpenOps(seed, r.context(e.Device, e.Generation, e.Type), e.Sealed)
	if err == nil {
		b, err = tree.ParseBatch(plain)
	}
	if err == nil && (len(b.Items) != int(e.Count) || b.Root() != e.Root) {
		err = fmt.Errorf("operations are not those that the header names")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: entry %d by %s: %w", r.ID(), e.Position, e.Device, err), nil
	}
	return b, nil, nil
}

// of is what a tree needs to know of an entry.
func (r *Region) of(e *journal.Entry) tree.Entry {
	return tree.Entry{Region: r.ID(), Hash: e.Hash, Position: e.Position, Time: e.Time, Device: e.Device}
}

// compare holds the digest that an entry's writer states against ours.
func (r *Region) compare(e *journal.Entry) error {
	if e == nil || e.DigestAt == 0 {
		return nil
	}
	ours, ok := r.digests[e.DigestAt]
	if ok && ours != e.Digest {
		return fmt.Errorf("%s: %w: at %d ours (%s) and that of %s", r.ID(), ErrDigest, e.DigestAt, r.self.Device, e.Device)
	}
	r.vouched = r.vouched || ok && e.Ring == r.self.Ring && r.active(e.Device)
	return nil
}

// context is what sealed operations are bound to. In a genesis the region has
// no id yet; its claim is bound by the entry that names the blob.
func (r *Region) context(writer signet.DeviceID, g signet.Generation, t journal.Type) []byte {
	id := r.ID()
	if t == journal.Genesis {
		id = signet.RegionID{}
	}
	return opsContext(r.self.Org, id, writer, g, t)
}

func opsContext(org signet.OrgID, id signet.RegionID, writer signet.DeviceID, g signet.Generation, t journal.Type) []byte {
	var w wire.Writer
	w.Raw(org[:])
	w.Raw(id[:])
	w.Raw(writer[:])
	w.U32(uint32(g))
	w.U8(uint8(t))
	return w.B
}

// seed opens the key of a generation: by an envelope to this device's ring or
// to the device itself, else by the back-links of a later one.
func (r *Region) seed(g signet.Generation) (*seal.Seed, error) {
	if s := r.seeds[g]; s != nil {
		return s, nil
	}
	gens := r.State.Generations()
	if int(g) > len(gens) || g == 0 {
		return nil, fmt.Errorf("generation %d: %w", g, ErrNoKey)
	}
	err := r.openEnvelope(&gens[g-1])
	if err == nil {
		return r.seeds[g], nil
	}
	if int(g) == len(gens) {
		return nil, err
	}
	// A bad envelope of an older generation harms nobody who has a later one.
	next, err := r.seed(g + 1)
	if err != nil {
		return nil, err
	}
	prev, err := seal.OpenBack(r.back(g+1), next, gens[g].BackLink, gens[g-1].Public)
	if err != nil {
		return nil, fmt.Errorf("%s: back-link of generation %d: %w", r.ID(), g+1, err)
	}
	r.seeds[g] = prev
	return prev, nil
}

func (r *Region) back(g signet.Generation) seal.BackContext {
	return seal.BackContext{Org: r.self.Org, OwnerKind: seal.OfRegion, Owner: r.ID(), Generation: g}
}

func regionContext(org signet.OrgID, owner [32]byte, g signet.Generation, to ring.Recipient, giver signet.DeviceID) seal.Context {
	return seal.Context{Org: org, OwnerKind: seal.OfRegion, Owner: owner, Generation: g,
		RecipientKind: seal.RecipientKind(to.Kind), Recipient: to.ID, RecipientGeneration: to.Generation, Giver: giver}
}

// publicKey is what a recipient's envelope is sealed to.
func publicKey(dir *ring.State, to ring.Recipient) (key.Encryption, bool) {
	if to.Kind == ring.ToDevice {
		d := dir.Device(signet.DeviceID(to.ID))
		if d == nil {
			return key.Encryption{}, false
		}
		return d.Seal, true
	}
	gens := dir.Generations(signet.RingID(to.ID))
	if to.Generation == 0 || int(to.Generation) > len(gens) {
		return key.Encryption{}, false
	}
	return gens[to.Generation-1].Public, true
}
