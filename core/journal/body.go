package journal

import (
	"errors"
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/wire"
)

// A Founding is the body of a Genesis: the region's owner and first key.
type Founding struct {
	// Claim is HMAC(ring secret, name, count of earlier regions of that name):
	// the service and every replica accept one genesis for it, so that of two
	// devices that make the same region at once one wins. It also stands for
	// the region's id in the context of the genesis's envelopes.
	Claim        signet.Hash
	SecretCommit signet.Hash // commitment to the region secret
	Public       key.Encryption
	Envelopes    []ring.Envelope
}

// A NewKey is the body of a Rekey.
type NewKey struct {
	Number    signet.Generation
	Public    key.Encryption
	BackLink  []byte // the previous seed sealed under the new one
	Envelopes []ring.Envelope
}

// A Grievance is the body of a Complaint: an envelope that its recipient could
// not open to the key that its generation commits to.
type Grievance struct {
	To       ring.Recipient
	Envelope signet.Hash // of its sealed bytes, see GrievanceOf
}

// A Right is the body of a Grant: the role that a ring is to have, whatever it
// had before.
type Right struct {
	Ring signet.RingID
	Role Role
}

// GrievanceOf is what a complaint about an envelope says.
func GrievanceOf(e *ring.Envelope) Grievance {
	return Grievance{To: e.Recipient, Envelope: ring.BlobHash(e.Sealed)}
}

const maxBody = MaxEntry - 64<<10

// Append appends the encoding of f to b.
func (f *Founding) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.Raw(f.Claim[:])
	w.Raw(f.SecretCommit[:])
	w.U8(1) // history: all; 2 is reserved for from-join
	w.Raw(f.Public[:])
	w.Vec24(ring.AppendEnvelopes(nil, f.Envelopes))
	return w.B
}

func parseFounding(b []byte) (*Founding, error) {
	r := wire.NewReader(b)
	f := &Founding{}
	r.Raw(f.Claim[:])
	r.Raw(f.SecretCommit[:])
	if p := r.U8(); r.Err() == nil && p != 1 {
		r.Fail("unknown history policy %d", p)
	}
	r.Raw(f.Public[:])
	list := r.Vec24(maxBody)
	if err := r.Done(); err != nil {
		return nil, err
	}
	var err error
	f.Envelopes, err = ring.ParseEnvelopes(list)
	return f, err
}

// Append appends the encoding of k to b.
func (k *NewKey) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.U32(uint32(k.Number))
	w.Raw(k.Public[:])
	w.Vec16(k.BackLink)
	w.Vec24(ring.AppendEnvelopes(nil, k.Envelopes))
	return w.B
}

func parseNewKey(b []byte) (*NewKey, error) {
	r := wire.NewReader(b)
	k := &NewKey{Number: signet.Generation(r.U32())}
	r.Raw(k.Public[:])
	k.BackLink = r.Vec16(1024)
	list := r.Vec24(maxBody)
	if err := r.Done(); err != nil {
		return nil, err
	}
	var err error
	k.Envelopes, err = ring.ParseEnvelopes(list)
	return k, err
}

// Append appends the encoding of g to b.
func (g *Grievance) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.U8(uint8(g.To.Kind))
	w.Raw(g.To.ID[:])
	w.U32(uint32(g.To.Generation))
	w.Raw(g.Envelope[:])
	return w.B
}

func parseGrievance(b []byte) (g Grievance, err error) {
	r := wire.NewReader(b)
	g.To.Kind = ring.RecipientKind(r.U8())
	r.Raw(g.To.ID[:])
	g.To.Generation = signet.Generation(r.U32())
	r.Raw(g.Envelope[:])
	if err := r.Done(); err != nil {
		return g, err
	}
	switch {
	case g.To.Kind != ring.ToDevice && g.To.Kind != ring.ToRing:
		r.Fail("unknown kind of recipient %d", g.To.Kind)
	case (g.To.Kind == ring.ToDevice) != (g.To.Generation == 0):
		r.Fail("generation %d of a recipient of kind %d", g.To.Generation, g.To.Kind)
	}
	return g, r.Err()
}

// Append appends the encoding of g to b.
func (g *Right) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.Raw(g.Ring[:])
	w.U8(uint8(g.Role))
	w.U8(0) // history: all; others are reserved
	return w.B
}

func parseRight(b []byte) (g Right, err error) {
	r := wire.NewReader(b)
	r.Raw(g.Ring[:])
	g.Role = Role(r.U8())
	if r.Err() == nil && (g.Role < Reader || g.Role > Manager) {
		r.Fail("unknown role %d", g.Role)
	}
	if p := r.U8(); r.Err() == nil && p != 0 {
		r.Fail("unknown history policy %d", p)
	}
	return g, r.Done()
}

// ClaimOf is the claim of a region's genesis, unverified: for the service,
// which accepts one genesis per claim.
func ClaimOf(head, blob []byte) (signet.Hash, error) {
	i, err := parse(head)
	if err != nil {
		return signet.Hash{}, err
	}
	if i.Type != Genesis {
		return signet.Hash{}, fmt.Errorf("entry: not a genesis: %w", errMalformed)
	}
	if err := errors.Join(i.attach(blob), i.fault); err != nil {
		return signet.Hash{}, err
	}
	f, err := parseFounding(i.body)
	if err != nil {
		return signet.Hash{}, fmt.Errorf("genesis: %w", err)
	}
	return f.Claim, nil
}
