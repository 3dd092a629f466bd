// Package ring replays an organisation's directory: who is who.
//
// It promises that a State holds only what signed statements said, each by a
// device that was entitled to say it when it did, in an order that every
// replica agrees on; and that what held at any earlier size of the directory
// can still be asked. It knows public facts only: which generation a ring has
// and whom its key was sealed to, never the key. It does not fetch, does not
// store and does not check that the leaves it is given are those of the
// service's log: core/chain does.
//
// Source: spec/identity.md, spec/ring.md.
package ring

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"signet"
	"signet/core/key"
)

const never = math.MaxUint64

// A State is the directory replayed up to a size. The zero State is that of an
// empty directory; ask NewState for one that is pinned.
type State struct {
	org        signet.OrgID
	root       *Statement
	size       uint64
	times      []int64
	rings      map[signet.RingID]*chain
	devices    map[signet.DeviceID]*member
	connectors map[signet.DeviceID]*member
	claims     map[signet.Hash]signet.RingID
}

// chain is a ring as far as it was told: an opaque one has no body.
type chain struct {
	id           signet.RingID
	seq          uint64
	head         signet.Hash
	opaque       bool
	genesis      *Statement
	prime        signet.DeviceID
	policy       AddPolicy
	secretCommit signet.Hash
	claim        signet.Hash
	members      []signet.DeviceID // in order of joining
	gens         []Generation      // gens[i].Number == i+1
	removals     []uint64          // positions of statements that make older generations stale
}

type member struct {
	ring           signet.RingID
	record         *Device
	added, removed uint64 // positions; removed is never while there
	clean          bool   // removed by a browser's own sign-out: its keys were destroyed, not lost
	by             signet.DeviceID
}

// A Generation is one key of a ring, as the directory tells it.
type Generation struct {
	Number    signet.Generation
	Public    key.Encryption
	BackLink  []byte
	Position  uint64          // of the statement that made it
	Giver     signet.DeviceID // who made it
	Envelopes []Envelope
}

// A Member is a device of a ring.
type Member struct {
	ID      signet.DeviceID
	Record  *Device
	AddedBy signet.DeviceID
	Added   uint64 // position of the statement; its time is TimeOf(Added)
	Removed uint64 // position, if Gone
	Gone    bool
}

// NewState begins the replay of the directory of org. With the zero org, the
// first root statement decides.
func NewState(org signet.OrgID) *State {
	return &State{org: org, rings: map[signet.RingID]*chain{}, devices: map[signet.DeviceID]*member{},
		connectors: map[signet.DeviceID]*member{}, claims: map[signet.Hash]signet.RingID{}}
}

// Size is the number of leaves replayed.
func (s *State) Size() uint64 { return s.size }

// Org is the organisation, zero while there is no root.
func (s *State) Org() signet.OrgID {
	if s.root == nil {
		return signet.OrgID{}
	}
	return s.org
}

// LogKey is the key of the service's checkpoints, as the root states it; nil
// while there is no root.
func (s *State) LogKey() *key.Public {
	if s.root == nil {
		return nil
	}
	return s.root.LogKey
}

// Owner is the ring of the device that signed the root: the officers, as long
// as one is enough.
func (s *State) Owner() (signet.RingID, bool) {
	r, ok := s.claims[signet.Hash(s.org)]
	return r, ok
}

// Head is the sequence number and statement that a next statement of ring
// follows.
func (s *State) Head(ring signet.RingID) (next uint64, prev signet.Hash, ok bool) {
	c := s.rings[ring]
	if c == nil {
		return 0, signet.Hash{}, false
	}
	return c.seq + 1, c.head, true
}

// TimeOf is the service's time of a leaf, in ms since 1970.
func (s *State) TimeOf(position uint64) int64 { return s.times[position] }

// RingOf is the ring that a device was ever added to.
func (s *State) RingOf(d signet.DeviceID) (signet.RingID, bool) {
	m := s.devices[d]
	if m == nil {
		return signet.RingID{}, false
	}
	return m.ring, true
}

// Device is a device's record, active or not, connectors included.
func (s *State) Device(d signet.DeviceID) *Device {
	if m := s.devices[d]; m != nil {
		return m.record
	}
	if m := s.connectors[d]; m != nil {
		return m.record
	}
	return nil
}

// ActiveAt reports whether d belonged to ring when the directory had a size;
// of sizes not replayed yet nothing is known, and the answer is no.
func (s *State) ActiveAt(ring signet.RingID, d signet.DeviceID, size uint64) bool {
	m := s.devices[d]
	return m != nil && m.ring == ring && size <= s.size && m.at(size, s.timeAt(size))
}

// Active reports whether d belongs to a ring now, at a time in ms.
func (s *State) Active(d signet.DeviceID, now int64) bool {
	m := s.devices[d]
	return m != nil && m.at(s.size, now)
}

func (m *member) at(size uint64, now int64) bool {
	return m.added < size && m.removed >= size && !m.ended(now)
}

// RevokedAt reports whether d is no device that a key may rest with when the
// directory had a size: unknown, not added yet, revoked, signed out or past
// its date. A browser that signed itself out is not: its keys were destroyed.
func (s *State) RevokedAt(d signet.DeviceID, size uint64) bool {
	m := s.devices[d]
	if m == nil || m.added >= size || size > s.size {
		return true
	}
	if m.removed < size {
		return !m.clean
	}
	return m.ended(s.timeAt(size))
}

// GoneBy reports whether d had left, or its date had passed, by a time of the
// service in ms, as far as the directory at hand tells.
func (s *State) GoneBy(d signet.DeviceID, time int64) bool {
	m := s.devices[d]
	return m == nil || m.ended(time) || m.removed != never && s.times[m.removed] <= time
}

func (m *member) ended(now int64) bool { return m.record.NotAfter != 0 && m.record.NotAfter <= now }

// timeAt is the time of the last leaf of a directory of a size.
func (s *State) timeAt(size uint64) int64 {
	if size == 0 || size > s.size {
		return 0
	}
	return s.times[size-1]
}

// Members lists the devices that ring ever had, in order of joining.
func (s *State) Members(ring signet.RingID) []Member {
	c := s.rings[ring]
	if c == nil {
		return nil
	}
	var list []Member
	for _, d := range c.members {
		m := s.devices[d]
		v := Member{ID: d, Record: m.record, AddedBy: m.by, Added: m.added, Removed: m.removed}
		v.Gone = !m.at(s.size, s.timeAt(s.size))
		list = append(list, v)
	}
	return list
}

// Rings lists the rings whose statements this State was shown, in the order of
// their ids.
func (s *State) Rings() []signet.RingID {
	var list []signet.RingID
	for id, c := range s.rings {
		if !c.opaque && id != signet.RingID(s.org) {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b signet.RingID) int { return bytes.Compare(a[:], b[:]) })
	return list
}

// Opaque reports whether ring exists but its statements were withheld: then
// nothing can be said of its devices, and nothing may be concluded from that.
func (s *State) Opaque(ring signet.RingID) bool {
	c := s.rings[ring]
	return c != nil && c.opaque
}

// Prime is the device that signed the genesis of ring.
func (s *State) Prime(ring signet.RingID) signet.DeviceID {
	if c := s.rings[ring]; c != nil {
		return c.prime
	}
	return signet.DeviceID{}
}

// ClaimOf is what ring's genesis claimed, and SecretCommit the commitment to
// its secret.
func (s *State) ClaimOf(ring signet.RingID) signet.Hash {
	if c := s.rings[ring]; c != nil {
		return c.claim
	}
	return signet.Hash{}
}

// SecretCommit is the commitment to the ring secret in ring's genesis.
func (s *State) SecretCommit(ring signet.RingID) signet.Hash {
	if c := s.rings[ring]; c != nil {
		return c.secretCommit
	}
	return signet.Hash{}
}

// Generations lists the generations of ring, oldest first.
func (s *State) Generations(ring signet.RingID) []Generation {
	if c := s.rings[ring]; c != nil {
		return c.gens
	}
	return nil
}

// GenerationAt is ring's newest generation when the directory had a size.
func (s *State) GenerationAt(ring signet.RingID, size uint64) (Generation, bool) {
	c := s.rings[ring]
	if c == nil {
		return Generation{}, false
	}
	for i := len(c.gens) - 1; i >= 0; i-- {
		if c.gens[i].Position < size {
			return c.gens[i], true
		}
	}
	return Generation{}, false
}

// StaleAt reports whether generation g of ring was stale when the directory
// had a size: a device that could open it (or a later one, whose back-links
// lead to it) had been revoked since it was made. What the State was not shown
// counts as stale: nobody seals to a ring on hearsay.
func (s *State) StaleAt(ring signet.RingID, g signet.Generation, size uint64) bool {
	return size > s.size || s.staleAt(ring, g, size, s.timeAt(size))
}

// staleAt is StaleAt at a time: that of the leaf about to come, where it is
// asked whether a statement may.
func (s *State) staleAt(ring signet.RingID, g signet.Generation, size uint64, now int64) bool {
	c := s.rings[ring]
	if c == nil || g == 0 || int(g) > len(c.gens) || c.gens[g-1].Position >= size {
		return true
	}
	made := c.gens[g-1].Position
	for _, r := range c.removals {
		if made < r && r < size {
			return true
		}
	}
	for _, d := range c.members {
		m := s.devices[d]
		// A device that ended by its date, without a sign-out before it, counts
		// as revoked at that moment; of a generation made later it was no
		// recipient. What happened to it from size on, a revocation after the
		// date for one, must not change what was so at size.
		if m.added < size && m.removed >= size && m.ended(now) && s.times[made] < m.record.NotAfter {
			return true
		}
	}
	return false
}

// Apply replays the next leaf. head is the statement and blob the envelopes
// beside it; both empty where the service withholds them, which makes the ring
// opaque. A statement that was not entitled is an error, and then nothing
// changes. Errors wrap signet.ErrConflict where somebody else's statement came
// first, signet.ErrNotAllowed where the signer may not, and
// signet.ErrNotVerified where a signature or hash is wrong: for the service
// these are answers to a writer, for a device each is an alarm.
func (s *State) Apply(leaf Leaf, head, blob []byte) error {
	if len(s.times) > 0 && leaf.Time < s.times[len(s.times)-1] {
		return fmt.Errorf("directory leaf %d: time goes back: %w", s.size, signet.ErrNotVerified)
	}
	if len(head) == 0 {
		return s.applyOpaque(leaf)
	}
	st, err := Parse(head)
	if err != nil {
		return fmt.Errorf("directory leaf %d: %w", s.size, errors.Join(err, signet.ErrNotVerified))
	}
	if LeafOf(st, leaf.Time) != leaf {
		return fmt.Errorf("directory leaf %d: not the statement that the leaf names: %w", s.size, signet.ErrNotVerified)
	}
	effect, err := s.check(st, blob, leaf.Time)
	if err != nil {
		return fmt.Errorf("directory leaf %d: %s statement: %w", s.size, st.Type, err)
	}
	effect()
	c := s.rings[leaf.Ring]
	c.seq, c.head = leaf.Seq, leaf.Hash
	s.size++
	s.times = append(s.times, leaf.Time)
	return nil
}

func (s *State) applyOpaque(leaf Leaf) error {
	c := s.rings[leaf.Ring]
	switch {
	case s.root == nil:
		return fmt.Errorf("directory leaf %d: the root statement is withheld: %w", s.size, signet.ErrNotVerified)
	case c == nil && leaf.Seq == 0:
		c = &chain{id: leaf.Ring, opaque: true}
		s.rings[leaf.Ring] = c
	case c == nil || leaf.Seq != c.seq+1:
		return fmt.Errorf("directory leaf %d: ring skips a statement: %w", s.size, signet.ErrNotVerified)
	case !c.opaque:
		return fmt.Errorf("directory leaf %d: a statement of a known ring is withheld: %w", s.size, signet.ErrNotVerified)
	}
	c.seq, c.head = leaf.Seq, leaf.Hash
	s.size++
	s.times = append(s.times, leaf.Time)
	return nil
}

// Check reports what Apply of head as the next statement, at a time, would
// answer, and the leaf that it would get. The service calls it before it
// orders, the writer before it sends. A time before that of the last leaf is
// taken to be that one, so a clock that was set back stops nobody.
func (s *State) Check(head, blob []byte, time int64) (Leaf, error) {
	st, err := Parse(head)
	if err != nil {
		return Leaf{}, err
	}
	time = max(time, s.timeAt(s.size))
	if _, err := s.check(st, blob, time); err != nil {
		return Leaf{}, fmt.Errorf("%s statement: %w", st.Type, err)
	}
	return LeafOf(st, time), nil
}

// check decides whether st may come next, and returns what it changes.
func (s *State) check(st *Statement, blob []byte, now int64) (effect func(), err error) {
	if BlobHash(blob) != st.BlobHash() {
		return nil, fmt.Errorf("envelopes are not those it names: %w", signet.ErrNotVerified)
	}
	envelopes := []Envelope(nil)
	if len(blob) > 0 {
		if envelopes, err = ParseEnvelopes(blob); err != nil {
			return nil, errors.Join(err, signet.ErrNotVerified)
		}
	}
	switch st.Type {
	case Root:
		return s.checkRoot(st)
	case Genesis:
		return s.checkGenesis(st, envelopes, now)
	}
	if st.Org != s.Org() || s.root == nil {
		return nil, fmt.Errorf("of another organisation: %w", signet.ErrNotAllowed)
	}
	c := s.rings[st.Ring]
	if c == nil {
		return nil, fmt.Errorf("of an unknown ring: %w", signet.ErrNotAllowed)
	}
	if st.Seq != c.seq+1 || st.Prev != c.head {
		return nil, fmt.Errorf("does not follow the ring's latest: %w", signet.ErrConflict)
	}
	if c.opaque {
		return nil, fmt.Errorf("follows statements that were withheld: %w", signet.ErrNotVerified)
	}
	// The root ring's statements are signed by devices of the owner's ring.
	authority := st.Ring
	if st.Ring == signet.RingID(s.org) {
		owner, ok := s.Owner()
		if !ok {
			return nil, fmt.Errorf("before the owner's ring: %w", signet.ErrNotAllowed)
		}
		authority = owner
	}
	signer := s.devices[st.Signer]
	if signer == nil || signer.ring != authority || !signer.at(s.size, now) {
		return nil, fmt.Errorf("signer is no active device of the ring: %w", signet.ErrNotAllowed)
	}
	if err := signer.record.Sign.Verify(key.LabelStatement, st.signed, st.sig); err != nil {
		return nil, err
	}
	if len(st.second) != 0 {
		return nil, fmt.Errorf("a second signature where none belongs: %w", signet.ErrNotVerified)
	}
	if root := st.Ring == signet.RingID(s.org); root != (st.Type >= Root) {
		return nil, fmt.Errorf("belongs to another kind of ring: %w", signet.ErrNotAllowed)
	}
	switch st.Type {
	case Add:
		return s.checkAdd(c, st, envelopes, now)
	case Revoke:
		return s.checkRevoke(c, st, envelopes, now)
	case Rekey:
		return s.checkGeneration(c, st, envelopes, now, signet.DeviceID{}, nil)
	case SignOut:
		return func() {
			signer.removed = s.size
			if signer.clean = signer.record.Class == Browser; !signer.clean {
				c.removals = append(c.removals, s.size)
			}
		}, nil
	case Policy:
		if st.Signer != c.prime {
			return nil, fmt.Errorf("only the prime device sets the policy: %w", signet.ErrNotAllowed)
		}
		return func() { c.policy = st.AddPolicy }, nil
	case AllowConnector:
		id := st.Device.ID()
		if s.Device(id) != nil {
			return nil, fmt.Errorf("the device is known already: %w", signet.ErrConflict)
		}
		if (&member{record: st.Device}).ended(now) {
			return nil, errEnded
		}
		return func() {
			s.connectors[id] = &member{ring: st.Ring, record: st.Device, added: s.size, removed: never, by: st.Signer}
		}, nil
	case DropConnector:
		m := s.connectors[st.Gone]
		if m == nil || m.removed != never {
			return nil, fmt.Errorf("no such connector: %w", signet.ErrConflict)
		}
		return func() { m.removed = s.size }, nil
	}
	return nil, fmt.Errorf("not known to this version: %w", signet.ErrNotAllowed)
}

func (s *State) checkRoot(st *Statement) (func(), error) {
	id := signet.OrgID(st.Hash())
	switch {
	case s.root != nil:
		return nil, fmt.Errorf("the organisation exists: %w", signet.ErrConflict)
	case s.size != 0 || st.Seq != 0 || st.Prev != (signet.Hash{}) || st.Org != (signet.OrgID{}) || st.Ring != (signet.RingID{}):
		return nil, fmt.Errorf("not a first statement: %w", signet.ErrNotVerified)
	case s.org != (signet.OrgID{}) && s.org != id:
		return nil, fmt.Errorf("fingerprint is %s, pinned is %s: %w", id, s.org, signet.ErrNotVerified)
	case st.Device == nil || st.Device.Class != Lasting || st.Device.ID() != st.Signer:
		return nil, fmt.Errorf("signer is not the device that it names: %w", signet.ErrNotVerified)
	case len(st.second) != 0:
		return nil, fmt.Errorf("a second signature where none belongs: %w", signet.ErrNotVerified)
	}
	if err := st.Device.Sign.Verify(key.LabelStatement, st.signed, st.sig); err != nil {
		return nil, err
	}
	return func() {
		s.org, s.root = id, st
		s.rings[signet.RingID(id)] = &chain{id: signet.RingID(id), genesis: st, prime: st.Signer}
	}, nil
}

func (s *State) checkGenesis(st *Statement, envelopes []Envelope, now int64) (func(), error) {
	if s.root == nil || st.Org != s.org {
		return nil, fmt.Errorf("of another organisation: %w", signet.ErrNotAllowed)
	}
	id := signet.RingID(st.Hash())
	dev := st.Device.ID()
	switch {
	case st.Seq != 0 || st.Prev != (signet.Hash{}) || st.Ring != (signet.RingID{}) || dev != st.Signer:
		return nil, fmt.Errorf("not a first statement of its signer: %w", signet.ErrNotVerified)
	case st.Device.Class != Lasting && st.Device.Class != Browser:
		return nil, fmt.Errorf("a %s device makes no ring: %w", st.Device.Class, signet.ErrNotAllowed)
	case s.Device(dev) != nil:
		return nil, fmt.Errorf("the device is known already: %w", signet.ErrConflict)
	case s.rings[id] != nil:
		// Its first telling was withheld. Were the second taken, the service
		// could tell a ring's life anew and leave out a revocation.
		return nil, fmt.Errorf("the ring exists: %w", signet.ErrConflict)
	case (&member{record: st.Device}).ended(now):
		return nil, errEnded
	case st.Gen.Number != 1 || len(st.Gen.BackLink) != 0:
		return nil, fmt.Errorf("does not begin with generation 1: %w", signet.ErrNotVerified)
	case !recipientsAre(envelopes, []signet.DeviceID{dev}):
		return nil, fmt.Errorf("the key is not sealed to its device alone: %w", signet.ErrNotVerified)
	}
	claim := st.ClaimHash()
	if _, taken := s.claims[claim]; taken {
		return nil, fmt.Errorf("the invitation was redeemed before: %w", signet.ErrConflict)
	}
	if err := st.Device.Sign.Verify(key.LabelStatement, st.signed, st.sig); err != nil {
		return nil, err
	}
	switch st.Claim.Kind {
	case ClaimRoot:
		if st.Signer != s.root.Signer || len(st.second) != 0 {
			return nil, fmt.Errorf("not by the device that made the organisation: %w", signet.ErrNotAllowed)
		}
	case ClaimInvitation:
		if err := s.VerifyInvitation(st.Claim.Admit, now); err != nil {
			return nil, err
		}
		if ClaimOf(st.Claim.Public) != claim {
			return nil, fmt.Errorf("not the invitation's key: %w", signet.ErrNotVerified)
		}
		if err := st.Claim.Public.Verify(key.LabelClaim, st.signed, st.second); err != nil {
			return nil, err
		}
	}
	return func() {
		c := &chain{id: id, genesis: st, prime: dev, policy: AddAny, secretCommit: st.SecretCommit, claim: claim,
			members: []signet.DeviceID{dev}, gens: []Generation{s.generation(st, envelopes)}}
		s.rings[id] = c
		s.claims[claim] = id
		s.devices[dev] = &member{ring: id, record: st.Device, added: s.size, removed: never, by: dev}
	}, nil
}

// VerifyInvitation checks that i was made by a connector or officer's device
// that could, and has not run out at a time in ms.
func (s *State) VerifyInvitation(i *Invitation, now int64) error {
	if s.root == nil || i.Org != s.org {
		return fmt.Errorf("invitation to another organisation: %w", signet.ErrNotAllowed)
	}
	m := s.connectors[i.Issuer]
	if m == nil {
		if owner, ok := s.Owner(); ok && s.devices[i.Issuer] != nil && s.devices[i.Issuer].ring == owner {
			m = s.devices[i.Issuer]
		}
	}
	if m == nil || !m.at(s.size, now) {
		return fmt.Errorf("invitation by nobody who may invite: %w", signet.ErrNotAllowed)
	}
	if err := m.record.Sign.Verify(key.LabelAdmit, i.signed, i.sig); err != nil {
		return fmt.Errorf("invitation: %w", err)
	}
	if now > i.Expiry {
		return fmt.Errorf("invitation: %w", ErrExpired)
	}
	return nil
}

var errEnded = fmt.Errorf("the device's date has passed: %w", signet.ErrNotAllowed)

// ErrExpired says that an invitation ran out.
var ErrExpired = fmt.Errorf("expired: %w", signet.ErrNotAllowed)

func (s *State) checkAdd(c *chain, st *Statement, envelopes []Envelope, now int64) (func(), error) {
	id := st.Device.ID()
	current := c.gens[len(c.gens)-1].Number
	switch {
	case c.policy == AddPrime && st.Signer != c.prime:
		return nil, fmt.Errorf("only the prime device adds devices here: %w", signet.ErrNotAllowed)
	case st.Device.Class == Connector:
		return nil, fmt.Errorf("a connector belongs to no ring: %w", signet.ErrNotAllowed)
	case s.Device(id) != nil:
		return nil, fmt.Errorf("the device is known already: %w", signet.ErrConflict)
	case (&member{record: st.Device}).ended(now):
		return nil, errEnded
	case st.Generation != current || s.staleAt(c.id, current, s.size, now):
		return nil, fmt.Errorf("generation %d: %w", st.Generation, signet.ErrStale)
	case !recipientsAre(envelopes, []signet.DeviceID{id}):
		return nil, fmt.Errorf("the key is not sealed to the newcomer alone: %w", signet.ErrNotVerified)
	}
	if err := VerifyNewcomer(s.org, c.id, st.Device, st.Reverse); err != nil {
		return nil, err
	}
	return func() {
		s.devices[id] = &member{ring: c.id, record: st.Device, added: s.size, removed: never, by: st.Signer}
		c.members = append(c.members, id)
		// The newcomer's envelope of the current generation joins the others, so
		// that it is found where every device looks for its own.
		g := &c.gens[len(c.gens)-1]
		e := envelopes[0]
		e.Giver = st.Signer
		g.Envelopes = append(g.Envelopes[:len(g.Envelopes):len(g.Envelopes)], e)
	}, nil
}

func (s *State) checkRevoke(c *chain, st *Statement, envelopes []Envelope, now int64) (func(), error) {
	m := s.devices[st.Gone]
	if m == nil || m.ring != c.id || m.removed != never {
		return nil, fmt.Errorf("no such device in the ring: %w", signet.ErrConflict)
	}
	gone := func() {
		m.removed = s.size
		c.removals = append(c.removals, s.size)
	}
	switch leaves := st.Gone == st.Signer; {
	case leaves && st.Gen != nil:
		return nil, fmt.Errorf("a device that leaves makes no key: %w", signet.ErrNotAllowed)
	case leaves:
		return gone, nil
	case st.Gen == nil:
		return nil, fmt.Errorf("a device that stays makes the next key at once: %w", signet.ErrNotAllowed)
	}
	return s.checkGeneration(c, st, envelopes, now, st.Gone, gone)
}

// checkGeneration checks a rekey: the next number, sealed to every device of
// the ring but gone, and to nobody else.
func (s *State) checkGeneration(c *chain, st *Statement, envelopes []Envelope, now int64, gone signet.DeviceID, first func()) (func(), error) {
	if int(st.Gen.Number) != len(c.gens)+1 || len(st.Gen.BackLink) == 0 {
		return nil, fmt.Errorf("generation %d does not follow %d: %w", st.Gen.Number, len(c.gens), signet.ErrConflict)
	}
	if !recipientsAre(envelopes, s.recipients(c, now, gone)) {
		return nil, fmt.Errorf("the key is not sealed to the ring's devices and nobody else: %w", signet.ErrNotAllowed)
	}
	return func() {
		if first != nil {
			first()
		}
		c.gens = append(c.gens, s.generation(st, envelopes))
	}, nil
}

// Recipients lists the devices that a new generation of ring must be sealed
// to, when gone leaves (zero: nobody), at a time in ms; one before the last
// leaf's is taken to be that.
func (s *State) Recipients(ring signet.RingID, now int64, gone signet.DeviceID) []signet.DeviceID {
	if c := s.rings[ring]; c != nil {
		return s.recipients(c, max(now, s.timeAt(s.size)), gone)
	}
	return nil
}

func (s *State) recipients(c *chain, now int64, gone signet.DeviceID) []signet.DeviceID {
	var list []signet.DeviceID
	for _, d := range c.members {
		if d != gone && s.devices[d].at(s.size, now) {
			list = append(list, d)
		}
	}
	return list
}

func (s *State) generation(st *Statement, envelopes []Envelope) Generation {
	for i := range envelopes {
		envelopes[i].Giver = st.Signer
	}
	return Generation{Number: st.Gen.Number, Public: st.Gen.Public, BackLink: st.Gen.BackLink,
		Position: s.size, Giver: st.Signer, Envelopes: envelopes}
}

func recipientsAre(envelopes []Envelope, want []signet.DeviceID) bool {
	if len(envelopes) != len(want) {
		return false
	}
	there := map[[32]byte]bool{} // ParseEnvelopes lets no recipient appear twice
	for _, e := range envelopes {
		there[e.ID] = e.Kind == ToDevice
	}
	for _, d := range want {
		if !there[d] {
			return false
		}
	}
	return true
}
