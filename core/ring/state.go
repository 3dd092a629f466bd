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
