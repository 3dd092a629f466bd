package ring

import (
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A Recipient is whom an envelope is for: a device, or a ring at one of its
// generations.
type Recipient struct {
	Kind       RecipientKind
	ID         [32]byte
	Generation signet.Generation // of the ring; 0 for a device
}

// A RecipientKind says what a Recipient's ID names.
type RecipientKind uint8

// The kinds of recipients.
const (
	ToDevice RecipientKind = 1
	ToRing   RecipientKind = 2
)

// An Envelope is a key sealed to one recipient. What is in it only core/seal
// can tell; that it is for the right set of recipients anybody can check.
type Envelope struct {
	Recipient
	Sealed []byte
	Giver  signet.DeviceID // who sealed it: not encoded, told by the statement or entry that it came with
}

// Limits of a list of envelopes.
const (
	MaxEnvelopes = 100_000
	maxSealed    = 4096 // bytes
)

// AppendEnvelopes appends the encoding of a list of envelopes to b.
func AppendEnvelopes(b []byte, list []Envelope) []byte {
	w := wire.Writer{B: b}
	w.U32(uint32(len(list)))
	for _, e := range list {
		w.U8(uint8(e.Kind))
		w.Raw(e.ID[:])
		w.U32(uint32(e.Generation))
		w.Vec16(e.Sealed)
	}
	return w.B
}

// ParseEnvelopes reads what AppendEnvelopes wrote. No two envelopes of a list
// may be for the same recipient.
func ParseEnvelopes(b []byte) ([]Envelope, error) {
	r := wire.NewReader(b)
	n := r.U32()
	if n > MaxEnvelopes || int(n) > r.Len() {
		r.Fail("%d envelopes", n)
	}
	var list []Envelope
	seen := map[Recipient]bool{}
	for range n {
		var e Envelope
		e.Kind = RecipientKind(r.U8())
		r.Raw(e.ID[:])
		e.Generation = signet.Generation(r.U32())
		e.Sealed = r.Vec16(maxSealed)
		switch {
		case r.Err() != nil:
			return nil, fmt.Errorf("envelopes: %w", r.Err())
		case e.Kind != ToDevice && e.Kind != ToRing:
			r.Fail("unknown kind of recipient %d", e.Kind)
		case (e.Kind == ToDevice) != (e.Generation == 0):
			r.Fail("generation %d of a recipient of kind %d", e.Generation, e.Kind)
		case seen[e.Recipient]:
			r.Fail("two envelopes for one recipient")
		}
		seen[e.Recipient] = true
		list = append(list, e)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("envelopes: %w", err)
	}
	return list, nil
}

// BlobHash is how a statement or an entry binds a blob beside it. The hash of
// an absent blob is zero.
func BlobHash(blob []byte) signet.Hash {
	if len(blob) == 0 {
		return signet.Hash{}
	}
	return key.Sum(key.LabelBlob, blob)
}
