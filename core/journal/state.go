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

// A Role says what a ring may do in a region. Readers and managers come with
// sharing.
type Role uint8

// Roles, each including those before it.
const (
	Reader  Role = 1
	Writer  Role = 2
	Manager Role = 3
)

// A Generation is one key of a region, as its journal tells it.
type Generation struct {
	Number    signet.Generation
	Public    key.Encryption
	BackLink  []byte
	Position  uint64
	Giver     signet.DeviceID
	Envelopes []ring.Envelope
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
	envelopes []ring.Envelope // of a Rekey
	// BackDated says that the writer had been revoked when the entry was
	// ordered, as far as the directory at hand tells; it is valid all the same,
	// because no entry before it told the journal.
	BackDated bool
	// Void says why a valid entry has its place and nothing else: a rekey that
	// is not sealed to the right recipients, so that the old generation stays;
	// parts that the writer bound and that break the limits. Nil otherwise.
	Void error
}

// own is where a device stands with its content entries.
type own struct {
	hash      signet.Hash
	seen, dir uint64 // sizes of the heads of its last valid content entry
	authority int    // index in the sub-chain
}

// A State is a journal replayed up to a size. It owns the tree over the
// region's leaves.
type State struct {
	Tree   chain.Tree
	region signet.RegionID
	dir    Directory

	founding *Founding
	roles    map[signet.RingID]Role
	gens     []Generation
	last     map[signet.DeviceID]own

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
	return &State{region: region, dir: dir, roles: map[signet.RingID]Role{}, last: map[signet.DeviceID]own{},
		sub: map[signet.Hash]int{}, heads: map[signet.Hash]*chain.Checkpoint{}}
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

// Latest is the latest authority entry, which the next one names.
func (s *State) Latest() signet.Hash { return s.latest }

// Own is a device's last valid content entry, which its next one names.
func (s *State) Own(d signet.DeviceID) signet.Hash { return s.last[d].hash }

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

// Roles lists the rings that have a role, and Role gives one.
func (s *State) Role(r signet.RingID) Role { return s.roles[r] }

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
// service and is not of this log; a writer's ring that the service withholds.
func (s *State) Apply(leaf Leaf, head, blob []byte) (e *Entry, reason error, err error) {
	if leaf.Time < s.time {
		return nil, nil, fmt.Errorf("%s: entry %d: time goes back: %w", s.region, s.Size(), signet.ErrNotVerified)
	}
	if hashHead(head) != leaf.Hash {
		return nil, nil, fmt.Errorf("%s: entry %d: not the one that the leaf names: %w", s.region, s.Size(), signet.ErrNotVerified)
	}
	e, effect, reason, err := s.verify(head, blob, leaf.Time)
	if err != nil {
		return nil, nil, err
	}
	if reason == nil {
		effect()
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
	now = max(now, s.time)
	e, _, reason, err := s.verify(head, blob, now)
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
	if e.Type == Rekey && s.stale(e.envelopes, s.dir.Size()) {
		return nil, fmt.Errorf("%s: generation %d is stale before it begins: %w", s.region, e.Generation, signet.ErrStale)
	}
	return e, nil
}

// verify applies the rules of spec/journal.md, "valid", in their order.
func (s *State) verify(head, blob []byte, now int64) (e *Entry, effect func(), reason, err error) {
	if s.dir.LogKey() == nil {
		return nil, nil, nil, ErrNeedDirectory // not even the root: nothing can be said of any entry
	}
	i, err := parse(head)
	if err != nil {
		return nil, nil, err, nil
	}
	no := func(kind error, format string, args ...any) (*Entry, func(), error, error) {
		return nil, nil, fmt.Errorf("%s entry: %s: %w", i.Type, fmt.Sprintf(format, args...), kind), nil
	}
	if i.Org != s.dir.Org() {
		return no(signet.ErrNotVerified, "of another organisation")
	}
	if i.Type == Genesis {
		if s.Size() != 0 || signet.RegionID(i.hash) != s.region {
			return no(signet.ErrConflict, "the region exists")
		}
	} else if i.Region != s.region || s.founding == nil {
		return no(signet.ErrNotVerified, "of another region")
	} else if s.roles[i.Ring] < Writer {
		return no(signet.ErrNotAllowed, "writer's ring may not write here")
	}
	if s.dir.Opaque(i.Ring) {
		return nil, nil, nil, fmt.Errorf("%s entry %d: the statements of its writer's ring are withheld: %w", i.Type, s.Size(), signet.ErrNotVerified)
	}

	// Who signed. The key is that of the directory at hand, which may be newer
	// than the head the entry names: a device's key never changes.
	dev := s.dir.Device(i.Device)
	if dev == nil {
		if s.behind(i) {
			return nil, nil, nil, ErrNeedDirectory
		}
		return no(signet.ErrNotAllowed, "writer is unknown")
	}
	if err := dev.Sign.Verify(i.label(), i.header, i.sig); err != nil {
		return no(signet.ErrNotVerified, "signature of its writer does not verify")
	}

	// The heads it names: signed by the service's log key, of these logs, and
	// true. A head that the service signed and that is not of this log is
	// evidence against the service; anything else the writer invented.
	dir, bad := s.head(i.dir, i.Directory, signet.Directory(s.dir.Org()))
	if bad != nil {
		return no(signet.ErrNotVerified, "directory head: %v", bad)
	}
	if dir.Size > s.dir.Size() {
		return nil, nil, nil, ErrNeedDirectory
	}
	if err := s.true(dir, s.dir.Tree); err != nil {
		return nil, nil, nil, err
	}
	var seen *chain.Checkpoint
	var seenSize uint64
	if i.Type != Genesis {
		if seen, bad = s.head(i.seen, i.Observed, signet.Journal(s.region)); bad != nil {
			return no(signet.ErrNotVerified, "observed head: %v", bad)
		}
		if seen.Size > s.Size() {
			return no(signet.ErrNotVerified, "observed a head of size %d before it was", seen.Size)
		}
		if err := s.true(seen, &s.Tree); err != nil {
			return nil, nil, nil, err
		}
		seenSize = seen.Size
	} else if len(i.seen) != 0 {
		return no(signet.ErrNotVerified, "observed a head before the first entry")
	}

	// Its place among its writer's entries, and in the authority sub-chain.
	prev := s.last[i.Device]
	authority := len(s.sub)
	dirAt := max(s.dirSub, dir.Size)
	if i.Type.Authority() {
		if i.Authority != s.latest {
			return no(signet.ErrConflict, "does not follow the latest authority entry")
		}
	} else {
		dirAt = max(s.dirAll, dir.Size)
		n, ok := s.sub[i.Authority]
		switch {
		case i.Own != prev.hash:
			return no(signet.ErrConflict, "does not follow its writer's last entry")
		case !ok || n < prev.authority:
			return no(signet.ErrNotVerified, "names no authority entry that its writer could name")
		case dir.Size < prev.dir || seenSize < prev.seen:
			return no(signet.ErrNotVerified, "its heads are behind those of its writer's last entry")
		}
		authority = n
	}

	// Whether the writer may.
	if !s.dir.ActiveAt(i.Ring, i.Device, dirAt) {
		return no(signet.ErrNotAllowed, "writer is not an active device of its ring")
	}
	if i.Type != Genesis && i.Type != Rekey && i.Generation != s.Current().Number {
		return no(signet.ErrStale, "generation %d is not the current one", i.Generation)
	}
	if !i.Type.Authority() && s.StaleAt(dirAt) {
		return no(signet.ErrStale, "generation %d", i.Generation)
	}

	// The parts. A content entry is judged without them; an authority entry is
	// not, and they must be the bound ones.
	if len(blob) > 0 {
		err = i.attach(blob)
	} else if i.Type.Authority() {
		err = errors.New("came without its body")
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s entry %d: %w", i.Type, s.Size(), errors.Join(err, signet.ErrNotVerified))
	}
	if i.Type.Authority() && i.fault != nil {
		return no(signet.ErrNotVerified, "%v", i.fault)
	}
	e = &Entry{Header: i.Header, Hash: i.hash, Position: s.Size(), Time: now, Seen: seen, Dir: dir, Whole: i.hasBlob,
		Sealed: i.sealed, Objects: i.objects, BackDated: s.dir.GoneBy(i.Device, now), Void: i.fault}

	switch i.Type {
	case Genesis:
		return s.verifyGenesis(i, e, dirAt)
	case Rekey:
		return s.verifyRekey(i, e)
	case Marker:
		return e, func() { s.follow(i, dir) }, nil, nil
	}
	return e, func() {
		s.last[i.Device] = own{hash: i.hash, seen: seenSize, dir: dir.Size, authority: authority}
		s.dirAll = max(s.dirAll, dir.Size)
	}, nil, nil
}

// follow appends an authority entry to the sub-chain.
func (s *State) follow(i *item, dir *chain.Checkpoint) {
	s.sub[i.hash] = len(s.sub)
	s.latest = i.hash
	s.dirSub = max(s.dirSub, dir.Size)
	s.dirAll = max(s.dirAll, dir.Size)
}

func (s *State) verifyGenesis(i *item, e *Entry, dirAt uint64) (*Entry, func(), error, error) {
	f, err := parseFounding(i.body)
	if err != nil {
		return nil, nil, malformed(err), nil
	}
	if i.Generation != 1 || !sameRecipients(f.Envelopes, recipientsOf(s.dir.State, i.Ring, dirAt)) {
		return nil, nil, fmt.Errorf("genesis: the key is not sealed to its ring and nobody else: %w", signet.ErrNotAllowed), nil
	}
	return e, func() {
		s.founding = f
		s.roles[i.Ring] = Manager
		s.gens = []Generation{generation(i, e, 1, f.Public, nil, f.Envelopes)}
		s.follow(i, e.Dir)
	}, nil, nil
}

func (s *State) verifyRekey(i *item, e *Entry) (*Entry, func(), error, error) {
	k, err := parseNewKey(i.body)
	if err != nil {
		return nil, nil, malformed(err), nil
	}
	// The recipients are judged at the directory head that the rekey names, so
	// that its writer can know them. A rekey with a wrong set keeps its place
	// in the sub-chain, and the old generation stays current.
	if k.Number != s.Current().Number+1 || i.Generation != k.Number || len(k.BackLink) == 0 {
		e.Void = fmt.Errorf("rekey: generation %d does not follow %d: %w", k.Number, s.Current().Number, signet.ErrConflict)
	} else if !sameRecipients(k.Envelopes, s.Recipients(e.Dir.Size)) {
		e.Void = fmt.Errorf("rekey: the key is not sealed to those who may read and nobody else: %w", signet.ErrNotAllowed)
	}
	e.envelopes = k.Envelopes
	return e, func() {
		if e.Void == nil {
			s.gens = append(s.gens, generation(i, e, k.Number, k.Public, k.BackLink, k.Envelopes))
		}
		s.follow(i, e.Dir)
	}, nil, nil
}

func generation(i *item, e *Entry, n signet.Generation, pub key.Encryption, back []byte, list []ring.Envelope) Generation {
	for j := range list {
		list[j].Giver = i.Device
	}
	return Generation{Number: n, Public: pub, BackLink: back, Position: e.Position, Giver: i.Device, Envelopes: list}
}

// behind reports whether an entry names a directory head that is signed by the
// service and larger than the directory at hand.
func (s *State) behind(i *item) bool {
	dir, err := s.head(i.dir, i.Directory, signet.Directory(s.dir.Org()))
	return err == nil && dir.Size > s.dir.Size()
}

// head opens a checkpoint that travels beside an entry.
func (s *State) head(raw []byte, hash signet.Hash, log signet.LogID) (*chain.Checkpoint, error) {
	if c := s.heads[hash]; c != nil && c.Log == log && string(c.Bytes()) == string(raw) {
		return c, nil
	}
	c, err := chain.Open(raw, log, s.dir.LogKey())
	if err != nil {
		return nil, err
	}
	if c.Hash() != hash {
		return nil, fmt.Errorf("not the one that the header names")
	}
	// Writers observe recent heads: a few are enough to verify each once.
	if len(s.heads) >= 64 {
		clear(s.heads)
	}
	s.heads[hash] = c
	return c, nil
}

// true checks a checkpoint that the service signed against the leaves at hand.
func (s *State) true(c *chain.Checkpoint, t *chain.Tree) error {
	root, err := t.RootAt(c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return &Contradicted{Shown: c, Have: root}
	}
	return nil
}

// Contradicted is the error for a checkpoint that a writer had been shown, the
// service signed, and the leaves at hand contradict. With a checkpoint of one's
// own over those leaves, chain.NewFork makes evidence of it.
type Contradicted struct {
	Shown *chain.Checkpoint
	Have  signet.Hash // root of the leaves at hand at that size
}

func (c *Contradicted) Error() string {
	return fmt.Sprintf("the service showed another device another history of %s at size %d", c.Shown.Log, c.Shown.Size)
}

// Unwrap makes it a signet.ErrNotVerified.
func (c *Contradicted) Unwrap() error { return signet.ErrNotVerified }

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
	return &Entry{Header: i.Header, Hash: i.hash, Position: position, Time: leaf.Time, Whole: true,
		Sealed: i.sealed, Objects: i.objects, Void: i.fault}, nil
}

// SetDirectory makes s use another replay of the same directory.
func (s *State) SetDirectory(dir Directory) { s.dir = dir }
