// Package journal replays what happened in a region, without any secret.
//
// It promises that an Entry exists only if a device signed it that was allowed
// to write at that place of the journal, by rules that are a function of the
// journal and the directory alone: every replica, and the service, which has
// no key, comes to the same verdict. It does not open operations, and does not
// check leaves against the service's checkpoints; core/chain does.
//
// Source: spec/journal.md.
package journal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/wire"
)

var errMalformed = fmt.Errorf("%w: %w", wire.ErrMalformed, signet.ErrNotVerified)

func malformed(err error) error { return errors.Join(err, signet.ErrNotVerified) }

// ErrNeedDirectory says that an entry names a directory head that the state of
// the directory at hand does not reach yet: catch up, then apply it again.
var ErrNeedDirectory = errors.New("the directory at hand is behind the entry")

// A Directory is what a State asks of the directory: its replay, and the tree
// over its leaves.
type Directory struct {
	*ring.State
	Tree *chain.Tree
}

// A Role says what a ring may do in a region. A Reader writes nothing but
// what keys need: complaints and envelopes. A Manager also grants roles, and
// ends objects.
type Role uint8

// Roles, each including those before it.
const (
	Reader  Role = 1
	Writer  Role = 2
	Manager Role = 3
)

// role is the least that may write entries of type t.
func (t Type) role() Role {
	switch t {
	case Complaint, Envelope:
		return Reader
	case Grant, Condemn, Collect, Limiting:
		return Manager
	}
	return Writer
}

// A Generation is one key of a region, as its journal tells it.
type Generation struct {
	Number    signet.Generation
	Public    key.Encryption
	BackLink  []byte
	Position  uint64
	Giver     signet.DeviceID
	Envelopes []ring.Envelope // in the order in which they were given
	First     int             // of Envelopes: how many the generation began with; entries of type Envelope added the others
}

// An Entry is a verified item of a journal.
type Entry struct {
	Header
	Hash      signet.Hash
	Position  uint64
	Time      int64             // of its leaf, ms since 1970
	Seen, Dir *chain.Checkpoint // the heads that it names; Seen is nil in Genesis
	Whole     bool              // Sealed, Objects and Body came with it
	Sealed    []byte            // operations
	Objects   []signet.ObjectID
	Dropped   bool              // they came, but for Sealed: a horizon may allow that
	Ending    []signet.ObjectID // of a Condemn, Spare or Collect: what it is about
	Keep      []Stretch         // of a Limiting
	envelopes []ring.Envelope   // of a Rekey or Envelope
	// BackDated says that the writer had been revoked when the entry was
	// ordered, as far as the directory at hand tells; it is valid all the same,
	// because no entry before it told the journal.
	BackDated bool
	// Void says why a valid entry has its place and nothing else: a rekey that
	// is not sealed to the right recipients, so that the old generation stays; a
	// complaint, an envelope or a grant that changes nothing or must not; parts
	// that the writer bound and that break the limits. Nil otherwise.
	Void error
}

// own is where a device stands with its content entries.
type own struct {
	hash      signet.Hash
	seen, dir uint64 // sizes of the heads of its last valid content entry
	authority int    // index in the sub-chain
	time      int64  // of the leaf of its last valid entry of any type
}

// A State is a journal replayed up to a size. It owns the tree over the
// region's leaves.
type State struct {
	Tree   chain.Tree
	region signet.RegionID
	dir    Directory

	founding *Founding
	owner    signet.RingID // made the region
	roles    map[signet.RingID]Role
	gens     []Generation
	last     map[signet.DeviceID]own
	// Envelopes of the current generation that were complained of.
	complaints map[Grievance]bool

	condemned map[signet.ObjectID]signet.Hash // by which entry
	sentences []Sentence
	carried   map[uint64]bool // positions of collects in effect
	floor     uint64

	points    map[uint64]bool       // digest points that point entries made
	snapshots map[signet.Hash]point // of digest points, by their entry
	horizon   *Horizon              // in effect, unless coming is; nil if none
	coming    *Horizon              // the newest; nil if none

	sub     map[signet.Hash]int // authority entries: index in the sub-chain
	latest  signet.Hash         // the latest authority entry
	dirSub  uint64              // largest directory head named by authority entries
	dirAll  uint64              // ... by any valid entry
	time    int64
	invalid uint64
	heads   map[signet.Hash]*chain.Checkpoint // verified checkpoints, so that each is verified once
}

// NewState begins the replay of a region's journal. dir may grow while the
// State is in use.
func NewState(region signet.RegionID, dir Directory) *State {
	return &State{region: region, dir: dir, roles: map[signet.RingID]Role{}, last: map[signet.DeviceID]own{}, complaints: map[Grievance]bool{},
		condemned: map[signet.ObjectID]signet.Hash{}, carried: map[uint64]bool{}, points: map[uint64]bool{}, snapshots: map[signet.Hash]point{}, sub: map[signet.Hash]int{}, heads: map[signet.Hash]*chain.Checkpoint{}}
}

// Region is the region's id.
func (s *State) Region() signet.RegionID { return s.region }

// Size is the number of leaves replayed.
func (s *State) Size() uint64 { return s.Tree.Size() }

// Time is that of the last leaf, ms since 1970.
func (s *State) Time() int64 { return s.time }

// Invalid is the number of leaves whose entries had no effect.
func (s *State) Invalid() uint64 { return s.invalid }

// Founding is the genesis's body; nil before it.
func (s *State) Founding() *Founding { return s.founding }

// Owner is the ring that made the region; zero before the genesis.
func (s *State) Owner() signet.RingID { return s.owner }

// Latest is the latest authority entry, which the next one names.
func (s *State) Latest() signet.Hash { return s.latest }

// Own is a device's last valid content entry, which its next one names.
func (s *State) Own(d signet.DeviceID) signet.Hash { return s.last[d].hash }

// LastOf is the time of the leaf of a device's last valid entry, whatever its
// type, in ms since 1970; ok is false where it wrote none.
func (s *State) LastOf(d signet.DeviceID) (time int64, ok bool) {
	last, ok := s.last[d]
	return last.time, ok
}

// SeenBy is the size of the checkpoint of this journal that a device's last valid
// content entry names: that far it had read, at least.
func (s *State) SeenBy(d signet.DeviceID) uint64 { return s.last[d].seen }

// DirectorySize is the largest directory head that a valid entry names.
func (s *State) DirectorySize() uint64 { return s.dirAll }

// Generations lists the region's keys, oldest first.
func (s *State) Generations() []Generation { return s.gens }

// Current is the newest generation; zero before the genesis.
func (s *State) Current() Generation {
	if len(s.gens) == 0 {
		return Generation{}
	}
	return s.gens[len(s.gens)-1]
}

// Role is what a ring may do; zero: nothing.
func (s *State) Role(r signet.RingID) Role { return s.roles[r] }

// Sole reports whether no ring but r ever had a role here: all that this
// journal names was made by r's devices. Who takes a ring's role away keeps its
// place in roles.
func (s *State) Sole(r signet.RingID) bool { return len(s.roles) == 1 && s.roles[r] != 0 }

// MayRead reports whether a device may read the region now, for the service:
// it is active, and its ring has a role.
func (s *State) MayRead(d signet.DeviceID, now int64) bool {
	r, ok := s.dir.RingOf(d)
	return ok && s.roles[r] >= Reader && s.dir.Active(d, now)
}

// StaleAt reports whether the current generation is stale when the directory
// has a size: one of its envelopes went to a device revoked since, or to a
// ring generation that is stale itself.
func (s *State) StaleAt(size uint64) bool {
	return s.stale(s.Current().Envelopes, size)
}

func (s *State) stale(envelopes []ring.Envelope, size uint64) bool {
	for _, e := range envelopes {
		switch e.Kind {
		case ring.ToDevice:
			if s.dir.RevokedAt(signet.DeviceID(e.ID), size) {
				return true
			}
		case ring.ToRing:
			if s.dir.StaleAt(signet.RingID(e.ID), e.Generation, size) {
				return true
			}
		}
	}
	return false
}

// Recipients is whom a new generation must be sealed to when the directory has
// a size: each ring with a role at its fresh generation; where a ring is stale
// itself, its active devices instead, so that any single writer can always go
// on (the bypass). In the order of their ids.
func (s *State) Recipients(size uint64) []ring.Recipient {
	var list []ring.Recipient
	for r := range s.roles {
		list = append(list, recipientsOf(s.dir.State, r, size)...)
	}
	slices.SortFunc(list, func(a, b ring.Recipient) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return list
}

func recipientsOf(dir *ring.State, r signet.RingID, size uint64) []ring.Recipient {
	g, ok := dir.GenerationAt(r, size)
	if ok && !dir.StaleAt(r, g.Number, size) {
		return []ring.Recipient{{Kind: ring.ToRing, ID: r, Generation: g.Number}}
	}
	var list []ring.Recipient
	for _, m := range dir.Members(r) {
		if dir.ActiveAt(r, m.ID, size) {
			list = append(list, ring.Recipient{Kind: ring.ToDevice, ID: m.ID})
		}
	}
	return list
}

func sameRecipients(envelopes []ring.Envelope, want []ring.Recipient) bool {
	if len(envelopes) != len(want) || len(want) == 0 {
		return false
	}
	there := map[ring.Recipient]bool{} // ParseEnvelopes lets no recipient appear twice
	for _, e := range envelopes {
		there[e.Recipient] = true
	}
	for _, r := range want {
		if !there[r] {
			return false
		}
	}
	return true
}

// Apply takes the next leaf with its record. An entry that is not valid at
// this place has no effect: then the Entry is nil and reason says why; the
// leaf counts all the same. That verdict depends on nothing but what the leaf
// binds, the entries before and the directory. err is for what lets the replay
// not go on, and changes nothing: ErrNeedDirectory; a leaf that does not match
// its record, or whose time goes back; an authority entry that the service
// gives without its body; a blob that is not the bound one; a *Contradicted,
// where the checkpoint that the entry's writer had seen was signed by the
// service and is not of this log; a ring with a role, or about to have one,
// whose statements the service withholds.
func (s *State) Apply(leaf Leaf, head, blob []byte) (e *Entry, reason error, err error) {
	if leaf.Time < s.time {
		return nil, nil, fmt.Errorf("%s: entry %d: time goes back: %w", s.region, s.Size(), signet.ErrNotVerified)
	}
	hash := hashHead(head)
	if hash != leaf.Hash {
		return nil, nil, fmt.Errorf("%s: entry %d: not the one that the leaf names: %w", s.region, s.Size(), signet.ErrNotVerified)
	}
	e, effect, reason, err := s.verify(head, hash, blob, leaf.Time)
	if err != nil {
		return nil, nil, err
	}
	if reason == nil {
		effect()
		if e.Seen != nil {
			s.overlooked(e.Position, e.Seen.Size)
		}
		s.notePoint(e)
		s.takeBack(leaf.Time)
		last := s.last[e.Device]
		last.time = leaf.Time
		s.last[e.Device] = last
	} else {
		s.invalid++
		reason = fmt.Errorf("%s: entry %d: %w", s.region, s.Size(), reason)
	}
	s.time = leaf.Time
	s.Tree.Append(leaf.Append(nil))
	return e, reason, nil
}

// Check reports whether a record would be valid as the next entry, at a time
// in ms: the service calls it before it orders, the writer before it sends.
// The service also refuses what a replica could not: a writer that the newest
// directory says is revoked, a generation that it says is stale, an entry
// without its parts, and one that would be Void. A time before that of the
// last leaf is taken to be that one: it is in the Entry.
func (s *State) Check(head, blob []byte, now int64) (*Entry, error) {
	if len(blob) == 0 {
		return nil, fmt.Errorf("%s: entry without its parts: %w", s.region, errMalformed)
	}
	if Dropped(signet.Record{Head: head, Blob: blob}) {
		return nil, fmt.Errorf("%s: entry without its operations: %w", s.region, errMalformed)
	}
	now = max(now, s.time)
	e, _, reason, err := s.verify(head, hashHead(head), blob, now)
	if err := errors.Join(reason, err); err != nil {
		return nil, fmt.Errorf("%s: %w", s.region, err)
	}
	if e.Void != nil {
		return nil, fmt.Errorf("%s: %w", s.region, e.Void)
	}
	if !s.dir.Active(e.Device, now) {
		return nil, fmt.Errorf("%s: the device is revoked: %w", s.region, signet.ErrNotAllowed)
	}
	if len(s.gens) > 0 && !e.Type.Authority() && s.StaleAt(s.dir.Size()) {
		return nil, fmt.Errorf("%s: generation %d: %w", s.region, e.Generation, signet.ErrStale)
	}
	// Nor does it order a key that was given to a revoked device, because its
	// writer did not know yet.
	if s.stale(e.envelopes, s.dir.Size()) {
		return nil, fmt.Errorf("%s: generation %d is sealed to whom the newest directory revokes: %w", s.region, e.Generation, signet.ErrStale)
	}
	return e, nil
}

// Reopen gives back the entry at a position that was valid when it was
// applied, from its whole record: for replaying operations later than
// verifying headers. The record is held against the leaf in the tree.
func Reopen(s *State, position uint64, rec signet.Record) (*Entry, error) {
	leaf, err := ParseLeaf(rec.Leaf)
	if err != nil {
		return nil, malformed(err)
	}
	i, err := parse(rec.Head)
	if err != nil {
		return nil, err
	}
	if position >= s.Size() || s.Tree.Leaf(position) != chain.LeafHash(rec.Leaf) || i.hash != leaf.Hash {
		return nil, fmt.Errorf("%s: entry %d: not the one that was verified: %w", s.region, position, signet.ErrNotVerified)
	}
	if err := i.attach(rec.Blob); err != nil {
		return nil, fmt.Errorf("%s: entry %d: %w", s.region, position, err)
	}
	return &Entry{Header: i.Header, Hash: i.hash, Position: position, Time: leaf.Time, Whole: !i.dropped, Dropped: i.dropped,
		Sealed: i.sealed, Objects: i.objects, Void: i.fault}, nil
}

// SetDirectory makes s use another replay of the same directory.
func (s *State) SetDirectory(dir Directory) { s.dir = dir }
