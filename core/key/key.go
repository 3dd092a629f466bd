// Package key has one Go type per key role of suite signet-1, the labels that
// keep their uses apart, and signatures.
//
// It promises that a signature made under one label verifies under no other,
// that where a label wants two signatures both are checked, and that private
// keys neither print nor compare nor marshal by accident. Private encryption
// keys are not here: they open things, and live in core/seal.
//
// Source: spec/encoding.md; RFC 8032 (Ed25519), FIPS 204 (ML-DSA-65).
package key

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"filippo.io/mldsa"

	"signet"
)

// Suite is the number of suite signet-1, inside every signed body.
const Suite = 1

// Sizes in bytes.
const (
	ed25519Public = ed25519.PublicKeySize // 32
	mldsaPublic   = 1952
	mldsaSig      = 3309
	PublicSize    = ed25519Public + mldsaPublic      // a Public
	FastSize      = ed25519.SignatureSize            // a signature under a label that wants Ed25519 alone
	BothSize      = ed25519.SignatureSize + mldsaSig // a signature under a label that wants both
	SealSize      = 1216                             // an Encryption key: X25519 and ML-KEM-768 (X-Wing)
	SeedSize      = 32
)

// ErrSignature is what Verify wraps: the bytes were not signed by this key
// under this label.
var ErrSignature = fmt.Errorf("signature does not verify: %w", signet.ErrNotVerified)

// Encryption is the public half of an HPKE pair: what others seal to.
type Encryption [SealSize]byte

// Public is the public half of a signing pair: Ed25519 and ML-DSA-65.
type Public struct {
	ed    [ed25519Public]byte
	ml    *mldsa.PublicKey
	bytes [PublicSize]byte
	sum   [sha256.Size]byte // of bytes
}

// ParsePublic reads a signing key of PublicSize bytes.
func ParsePublic(b []byte) (*Public, error) {
	if len(b) != PublicSize {
		return nil, fmt.Errorf("signing key of %d bytes, want %d", len(b), PublicSize)
	}
	ml, err := mldsa.NewPublicKey(mldsa.MLDSA65(), b[ed25519Public:])
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	p := &Public{ml: ml, sum: sha256.Sum256(b)}
	copy(p.ed[:], b)
	copy(p.bytes[:], b)
	return p, nil
}

// Bytes is the encoding that ParsePublic reads.
func (p *Public) Bytes() []byte { return p.bytes[:] }

// Sum is the SHA-256 of Bytes.
func (p *Public) Sum() [sha256.Size]byte { return p.sum }

// Equal reports whether p and q are the same key.
func (p *Public) Equal(q *Public) bool { return p.bytes == q.bytes }

// SignatureSize is the length of a signature under l.
func SignatureSize(l Label) int {
	if l.Both() {
		return BothSize
	}
	return FastSize
}

// message is what is signed: the label, a NUL, the body.
func message(l Label, body []byte) []byte {
	m := make([]byte, 0, len(l)+1+len(body))
	m = append(m, l...)
	m = append(m, 0)
	return append(m, body...)
}

// Verify reports whether sig is this key's signature of body under l. Where l
// wants two signatures, both must verify. What was verified lately is looked up.
func (p *Public) Verify(l Label, body, sig []byte) error {
	if len(sig) != SignatureSize(l) {
		return fmt.Errorf("%s: %d bytes of signature: %w", l, len(sig), ErrSignature)
	}
	m := message(l, body)
	t := trace(p, sig, m)
	if verified.has(t) {
		return nil
	}
	if !ed25519.Verify(p.ed[:], m, sig[:ed25519.SignatureSize]) {
		return fmt.Errorf("%s: %w", l, ErrSignature)
	}
	if l.Both() {
		if err := mldsa.Verify(p.ml, m, sig[ed25519.SignatureSize:], nil); err != nil {
			return fmt.Errorf("%s (ML-DSA): %w", l, ErrSignature)
		}
	}
	verified.add(t)
	return nil
}

// A Signer signs as one device, service or invitation. Implemented by Private
// here and by the keystores of devices.
type Signer interface {
	Public() *Public
	// Sign signs body under l with as many signatures as l wants.
	Sign(l Label, body []byte) ([]byte, error)
}

// Private is a signing pair in memory. It has no String, no marshaller and
// cannot be compared.
type Private struct {
	_    [0]func()
	seed [SeedSize]byte
	ed   ed25519.PrivateKey
	ml   *mldsa.PrivateKey
	pub  *Public
	own  bool
}

// RememberOwn has this process take for verified what the pair signs from now on.
// A service meets each checkpoint that it signed in the entries of those who saw it.
// It is called before the pair is shared.
func (p *Private) RememberOwn() { p.own = true }

// Generate makes a new signing pair.
func Generate() (*Private, error) {
	var seed [SeedSize]byte
	rand.Read(seed[:])
	return FromSeed(seed)
}

// FromSeed derives a signing pair from 32 secret bytes. The two halves get
// seeds of their own (HKDF-SHA256), so neither tells anything of the other.
func FromSeed(seed [SeedSize]byte) (*Private, error) {
	s, err := hkdf.Key(sha256.New, seed[:], nil, string(LabelSigningSeed), 64)
	if err != nil {
		return nil, err
	}
	ml, err := mldsa.NewPrivateKey(mldsa.MLDSA65(), s[32:])
	if err != nil {
		return nil, err
	}
	p := &Private{seed: seed, ed: ed25519.NewKeyFromSeed(s[:32]), ml: ml}
	b := append([]byte(nil), p.ed.Public().(ed25519.PublicKey)...)
	b = append(b, ml.PublicKey().Bytes()...)
	if p.pub, err = ParsePublic(b); err != nil {
		return nil, err
	}
	return p, nil
}

// Seed is the secret that FromSeed takes: for keystores alone.
func (p *Private) Seed() [SeedSize]byte { return p.seed }

// Public is the public half.
func (p *Private) Public() *Public { return p.pub }

// Sign implements Signer.
func (p *Private) Sign(l Label, body []byte) ([]byte, error) {
	m := message(l, body)
	sig := ed25519.Sign(p.ed, m)
	if l.Both() {
		ml, err := p.ml.Sign(nil, m, crypto.Hash(0))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l, err)
		}
		sig = append(sig, ml...)
	}
	if p.own {
		verified.add(trace(p.pub, sig, m))
	}
	return sig, nil
}

// GoString and String keep a private key out of messages.
func (p *Private) GoString() string { return "key.Private(…)" }
func (p *Private) String() string   { return "key.Private(…)" }

// MarshalText refuses.
func (p *Private) MarshalText() ([]byte, error) {
	return nil, errors.New("a private key is not marshalled")
}

// Sum hashes parts under l: SHA-256 over the label, a NUL, and each part after
// its length in eight bytes, so that no two lists of parts hash alike.
func Sum(l Label, parts ...[]byte) signet.Hash {
	h := sha256.New()
	h.Write([]byte(l))
	h.Write([]byte{0})
	for _, p := range parts {
		var n [8]byte
		for i := range n {
			n[i] = byte(uint64(len(p)) >> (56 - 8*i))
		}
		h.Write(n[:])
		h.Write(p)
	}
	return signet.Hash(h.Sum(nil))
}
