package ring

import (
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A Type says what a statement states.
type Type uint8

// Types of statements. The first row belongs to members' rings, the second to
// the organisation's root ring. Numbers 23 to 63 are reserved: rewind, role,
// policy of the organisation, hold, wipe, replica, audit.
const (
	Genesis Type = 1
	Add     Type = 2
	Revoke  Type = 3
	Rekey   Type = 4
	// 5 is reserved: a recovery key is added by Add, with class Recovery.
	SignOut Type = 6
	Policy  Type = 7

	Root             Type = 16
	Officers         Type = 17 // reserved until there are k of n
	AllowConnector   Type = 18
	Admit            Type = 19 // an invitation: inside a Genesis, never alone
	Vouch            Type = 20 // reserved
	Remove           Type = 21 // reserved
	DropConnector    Type = 22
	firstUnknownType Type = 23
)

// String is the type's name in messages.
func (t Type) String() string {
	switch t {
	case Genesis:
		return "genesis"
	case Add:
		return "add"
	case Revoke:
		return "revoke"
	case Rekey:
		return "rekey"
	case SignOut:
		return "sign-out"
	case Policy:
		return "policy"
	case Root:
		return "root"
	case AllowConnector:
		return "allow-connector"
	case DropConnector:
		return "drop-connector"
	}
	return fmt.Sprintf("statement type %d", uint8(t))
}

// Formats and limits.
const (
	format       = 1
	MaxStatement = 64 << 10 // bytes of a statement with its signatures
)

// A Claim is what a genesis may be made with, once for ever.
type Claim struct {
	Kind ClaimKind
	// Admit is the invitation, and Public its key (ClaimInvitation).
	Admit  *Invitation
	Public *key.Public
}

// A ClaimKind says what entitles a genesis.
type ClaimKind uint8

// The kinds of claims of a member's ring.
const (
	ClaimRoot       ClaimKind = 1 // the ring of the device that signed the root statement
	ClaimInvitation ClaimKind = 2
)

// A NewGeneration starts a generation of a ring's key.
type NewGeneration struct {
	Number    signet.Generation
	Public    key.Encryption // the commitment that every recipient checks
	BackLink  []byte         // the previous seed sealed under the new one; empty in a genesis
	Envelopes signet.Hash    // of the list beside the statement
}

// A Statement is one signed item of a ring's chain. Which fields are set
// depends on Type.
type Statement struct {
	Type   Type
	Org    signet.OrgID  // zero in Root
	Ring   signet.RingID // zero in Genesis; the organisation's id in Root's successors
	Seq    uint64        // 0 in Genesis and Root
	Prev   signet.Hash   // hash of the ring's previous statement
	Signer signet.DeviceID

	Device       *Device           // Genesis, Add, Root, AllowConnector
	Reverse      []byte            // Add: the newcomer's signature
	Claim        Claim             // Genesis
	SecretCommit signet.Hash       // Genesis: commitment to the ring secret
	Gen          *NewGeneration    // Genesis, Rekey; Revoke, where the signer stays
	Generation   signet.Generation // Add: the generation that the envelope beside holds
	Envelopes    signet.Hash       // Add
	Gone         signet.DeviceID   // Revoke, DropConnector
	AddPolicy    AddPolicy         // Policy

	LogKey    *key.Public // Root: signs the organisation's checkpoints
	Bootstrap signet.Hash // Root: hash of the bootstrap secret

	signed []byte // what the signatures are over
	sig    []byte
	second []byte // Genesis by invitation: the invitation's signature
	raw    []byte
}

// An AddPolicy says who may add devices to a ring.
type AddPolicy uint8

// Policies for adding. AddTwo is reserved.
const (
	AddAny   AddPolicy = 1 // any device of the ring
	AddPrime AddPolicy = 2 // the prime device alone
)

// Hash is the statement's hash: of what was signed.
func (s *Statement) Hash() signet.Hash { return key.Sum(key.LabelStatementHash, s.signed) }

// Bytes is the statement with its signatures, as it was parsed or signed.
func (s *Statement) Bytes() []byte { return s.raw }

// BlobHash is the hash of the envelopes that must stand beside the statement.
func (s *Statement) BlobHash() signet.Hash {
	if s.Gen != nil {
		return s.Gen.Envelopes
	}
	return s.Envelopes
}

// ClaimHash is what a genesis claims: the service and every replica accept one
// genesis for it, for ever. It also stands for the ring's id, not known yet,
// in the context of the genesis's envelopes.
func (s *Statement) ClaimHash() signet.Hash {
	if s.Claim.Kind == ClaimInvitation {
		return s.Claim.Admit.Claim
	}
	return signet.Hash(s.Org)
}

func appendGen(w *wire.Writer, g *NewGeneration) {
	w.U32(uint32(g.Number))
	w.Raw(g.Public[:])
	w.Vec16(g.BackLink)
	w.Raw(g.Envelopes[:])
}

func readGen(r *wire.Reader) *NewGeneration {
	g := &NewGeneration{Number: signet.Generation(r.U32())}
	r.Raw(g.Public[:])
	g.BackLink = r.Vec16(1024)
	r.Raw(g.Envelopes[:])
	return g
}

func (s *Statement) appendBody(b []byte) []byte {
	w := wire.Writer{B: b}
	w.U8(key.Suite)
	w.U8(format)
	w.U8(uint8(s.Type))
	w.Raw(s.Org[:])
	w.Raw(s.Ring[:])
	w.U64(s.Seq)
	w.Raw(s.Prev[:])
	w.Raw(s.Signer[:])
	switch s.Type {
	case Genesis:
		w.U8(1) // a member's ring; 2 is reserved for groups, 3 for officers
		w.Vec16(s.Device.Append(nil))
		w.U8(uint8(s.Claim.Kind))
		if s.Claim.Kind == ClaimInvitation {
			w.Vec16(s.Claim.Admit.raw)
			w.Raw(s.Claim.Public.Bytes())
		}
		w.Raw(s.SecretCommit[:])
		appendGen(&w, s.Gen)
	case Add:
		w.Vec16(s.Device.Append(nil))
		w.Vec16(s.Reverse)
		w.U32(uint32(s.Generation))
		w.Raw(s.Envelopes[:])
	case Revoke:
		w.Raw(s.Gone[:])
		if s.Gen == nil {
			w.U8(0)
		} else {
			w.U8(1)
			appendGen(&w, s.Gen)
		}
	case Rekey:
		appendGen(&w, s.Gen)
	case SignOut:
	case Policy:
		w.U8(uint8(s.AddPolicy))
	case Root:
		w.Vec16(s.Device.Append(nil))
		w.Raw(s.LogKey.Bytes())
		w.Raw(s.Bootstrap[:])
		w.U8(1) // officers needed
		w.U8(1) // officers there are
	case AllowConnector:
		w.Vec16(s.Device.Append(nil))
	case DropConnector:
		w.Raw(s.Gone[:])
	}
	return w.B
}

// Sign signs a statement whose fields are set, with claim's key too where a
// genesis claims an invitation (nil otherwise), and completes it.
func (s *Statement) Sign(by key.Signer, claim key.Signer) error {
	s.signed = s.appendBody(nil)
	var err error
	if s.sig, err = by.Sign(key.LabelStatement, s.signed); err != nil {
		return err
	}
	s.second = nil
	if claim != nil {
		if s.second, err = claim.Sign(key.LabelClaim, s.signed); err != nil {
			return err
		}
	}
	var w wire.Writer
	w.Vec24(s.signed)
	w.Raw(s.sig)
	w.Vec16(s.second)
	s.raw = w.B
	return nil
}

// Parse reads a statement. Its signatures are not checked: State does that.
func Parse(b []byte) (*Statement, error) {
	if len(b) > MaxStatement {
		return nil, fmt.Errorf("statement of %d bytes: %w", len(b), wire.ErrMalformed)
	}
	b = append([]byte(nil), b...)
	r := wire.NewReader(b)
	s := &Statement{raw: b, signed: r.Vec24(MaxStatement), sig: r.Take(key.BothSize), second: r.Vec16(key.BothSize)}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	r = wire.NewReader(s.signed)
	if suite := r.U8(); r.Err() == nil && suite != key.Suite {
		r.Fail("suite %d", suite)
	}
	if f := r.U8(); r.Err() == nil && f != format {
		r.Fail("statement format %d", f)
	}
	s.Type = Type(r.U8())
	r.Raw(s.Org[:])
	r.Raw(s.Ring[:])
	s.Seq = r.U64()
	r.Raw(s.Prev[:])
	r.Raw(s.Signer[:])
	s.readBody(r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%s statement: %w", s.Type, err)
	}
	return s, nil
}

func (s *Statement) readBody(r *wire.Reader) {
	device := func() *Device {
		d, err := ParseDevice(r.Vec16(maxDevice))
		if err != nil {
			r.Fail("%v", err)
		}
		return d
	}
	switch s.Type {
	case Genesis:
		if kind := r.U8(); r.Err() == nil && kind != 1 {
			r.Fail("unknown kind of ring %d", kind)
		}
		s.Device = device()
		s.Claim.Kind = ClaimKind(r.U8())
		switch s.Claim.Kind {
		case ClaimRoot:
		case ClaimInvitation:
			var err error
			if s.Claim.Admit, err = ParseInvitation(r.Vec16(maxInvitation)); err != nil {
				r.Fail("%v", err)
			}
			if s.Claim.Public, err = key.ParsePublic(r.Take(key.PublicSize)); err != nil {
				r.Fail("%v", err)
			}
		default:
			r.Fail("unknown claim %d", s.Claim.Kind)
		}
		r.Raw(s.SecretCommit[:])
		s.Gen = readGen(r)
	case Add:
		s.Device = device()
		s.Reverse = r.Vec16(key.BothSize)
		s.Generation = signet.Generation(r.U32())
		r.Raw(s.Envelopes[:])
	case Revoke:
		r.Raw(s.Gone[:])
		switch r.U8() {
		case 0:
		case 1:
			s.Gen = readGen(r)
		default:
			r.Fail("flag neither 0 nor 1")
		}
	case Rekey:
		s.Gen = readGen(r)
	case SignOut:
	case Policy:
		s.AddPolicy = AddPolicy(r.U8())
		if r.Err() == nil && s.AddPolicy != AddAny && s.AddPolicy != AddPrime {
			r.Fail("unknown policy %d", s.AddPolicy)
		}
	case Root:
		s.Device = device()
		var err error
		if s.LogKey, err = key.ParsePublic(r.Take(key.PublicSize)); err != nil {
			r.Fail("%v", err)
		}
		r.Raw(s.Bootstrap[:])
		if k, n := r.U8(), r.U8(); r.Err() == nil && (k != 1 || n != 1) {
			r.Fail("%d of %d officers", k, n)
		}
	case AllowConnector:
		s.Device = device()
		if s.Device != nil && s.Device.Class != Connector {
			r.Fail("a %s device as connector", s.Device.Class)
		}
	case DropConnector:
		r.Raw(s.Gone[:])
	default:
		r.Fail("unknown type %d", s.Type)
	}
}

// A Leaf is what the directory's Merkle tree is over: one statement.
type Leaf struct {
	Ring signet.RingID // of Root: the organisation's id
	Seq  uint64
	Hash signet.Hash // of the statement
	Time int64       // the service's, in ms since 1970; never decreasing
}

// LeafSize is the length of an encoded Leaf in bytes.
const LeafSize = 32 + 8 + 32 + 8

// Append appends the encoding of l to b.
func (l Leaf) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.Raw(l.Ring[:])
	w.U64(l.Seq)
	w.Raw(l.Hash[:])
	w.I64(l.Time)
	return w.B
}

// ParseLeaf reads what Append wrote.
func ParseLeaf(b []byte) (l Leaf, err error) {
	r := wire.NewReader(b)
	r.Raw(l.Ring[:])
	l.Seq = r.U64()
	r.Raw(l.Hash[:])
	l.Time = r.I64()
	if l.Time < 0 {
		r.Fail("time before 1970")
	}
	return l, r.Done()
}

// LeafOf is the leaf of s at a time.
func LeafOf(s *Statement, time int64) Leaf {
	l := Leaf{Ring: s.Ring, Seq: s.Seq, Hash: s.Hash(), Time: time}
	if s.Type == Genesis || s.Type == Root {
		l.Ring = signet.RingID(l.Hash)
	}
	return l
}

// Canonical reports whether encoding the parsed statement gives the signed
// bytes again. It holds for everything that Parse accepts; fuzzing shows it.
func (s *Statement) Canonical() bool { return string(s.appendBody(nil)) == string(s.signed) }
