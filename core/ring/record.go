package ring

import (
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A Record is a sealed record: a name or a profile, which no statement may
// hold. It can be replaced and erased; the log verifies without it. Whom it is
// about and who wrote it is public, what it says is sealed under a generation
// of the ring.
type Record struct {
	Org        signet.OrgID
	Ring       signet.RingID
	Subject    [32]byte // a device's id, or the ring's own: the member's profile
	Version    uint64   // the highest holds
	Generation signet.Generation
	Sealed     []byte
	Signer     signet.DeviceID

	signed, sig, raw []byte
}

// MaxRecord bounds a record, in bytes.
const MaxRecord = 16 << 10

// Context is what the sealed part must be bound to.
func (c *Record) Context() []byte {
	var w wire.Writer
	w.Raw(c.Org[:])
	w.Raw(c.Ring[:])
	w.Raw(c.Subject[:])
	w.U64(c.Version)
	w.U32(uint32(c.Generation))
	return w.B
}

// Sign signs a record whose fields are set, and returns its bytes.
func (c *Record) Sign(by key.Signer) ([]byte, error) {
	w := wire.Writer{}
	w.U8(key.Suite)
	w.U8(format)
	w.Raw(c.Context())
	w.Vec16(c.Sealed)
	w.Raw(c.Signer[:])
	c.signed = w.B
	var err error
	if c.sig, err = by.Sign(key.LabelRecord, c.signed); err != nil {
		return nil, err
	}
	c.raw = append(append([]byte(nil), c.signed...), c.sig...)
	return c.raw, nil
}

// ParseRecord reads a record; VerifyRecord checks it.
func ParseRecord(b []byte) (*Record, error) {
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("sealed record of %d bytes: %w", len(b), wire.ErrMalformed)
	}
	b = append([]byte(nil), b...)
	r := wire.NewReader(b)
	c := &Record{raw: b}
	if s, f := r.U8(), r.U8(); r.Err() == nil && (s != key.Suite || f != format) {
		r.Fail("suite %d, format %d", s, f)
	}
	r.Raw(c.Org[:])
	r.Raw(c.Ring[:])
	r.Raw(c.Subject[:])
	c.Version = r.U64()
	c.Generation = signet.Generation(r.U32())
	c.Sealed = r.Vec16(MaxRecord)
	r.Raw(c.Signer[:])
	c.signed = b[:max(0, len(b)-r.Len())]
	c.sig = r.Take(key.FastSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("sealed record: %w", err)
	}
	return c, nil
}

// VerifyRecord checks that c was signed by a device that belongs, or once
// belonged, to its ring, and is about that ring or a device of it: nobody names
// the devices of another ring. A record by a device that has left since stays: who
// renamed what before leaving did so with right; the service refuses new ones.
func (s *State) VerifyRecord(c *Record) error {
	m := s.devices[c.Signer]
	if m == nil || m.ring != c.Ring || c.Org != s.Org() {
		return fmt.Errorf("sealed record: signer is no device of the ring: %w", signet.ErrNotVerified)
	}
	if about := s.devices[signet.DeviceID(c.Subject)]; signet.RingID(c.Subject) != c.Ring && (about == nil || about.ring != c.Ring) {
		return fmt.Errorf("sealed record: about no device of the ring: %w", signet.ErrNotVerified)
	}
	if err := m.record.Sign.Verify(key.LabelRecord, c.signed, c.sig); err != nil {
		return fmt.Errorf("sealed record: %w", err)
	}
	return nil
}
