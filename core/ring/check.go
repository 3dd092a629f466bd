package ring

import (
	"errors"
	"fmt"

	"signet"
	"signet/core/key"
)

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
