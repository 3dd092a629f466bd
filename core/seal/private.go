package seal

import (
	"crypto/hpke"
	"crypto/rand"
	"fmt"

	"signet/core/key"
)

// An Opener opens what was sealed to one device or one generation.
// Implemented by PrivateKey here and by keystores that keep the key elsewhere.
type Opener interface {
	// Public is what others seal to.
	Public() key.Encryption
	// Open opens an HPKE ciphertext made under info. That it does not
	// open is ErrOpen; that the key cannot be reached is not.
	Open(info, ciphertext []byte) ([]byte, error)
}

// A PrivateKey is the private half of an HPKE pair (MLKEM768X25519), kept as
// the 32 bytes from which it is derived. It does not print, compare or marshal.
type PrivateKey struct {
	in func() *privateKey
}

type privateKey struct {
	seed [key.SeedSize]byte
	k    hpke.PrivateKey
	pub  key.Encryption
	had  envelopes
}

// New makes a new private key.
func New() (*PrivateKey, error) {
	var seed [key.SeedSize]byte
	rand.Read(seed[:])
	return FromSeed(seed)
}

// FromSeed derives the private key of 32 secret bytes (HPKE DeriveKeyPair).
func FromSeed(seed [key.SeedSize]byte) (*PrivateKey, error) {
	k, err := hpke.MLKEM768X25519().DeriveKeyPair(seed[:])
	if err != nil {
		return nil, fmt.Errorf("derive encryption key: %w", err)
	}
	p := &privateKey{seed: seed, k: k}
	if n := copy(p.pub[:], k.PublicKey().Bytes()); n != len(p.pub) {
		return nil, fmt.Errorf("derive encryption key: public half of %d bytes, want %d", n, len(p.pub))
	}
	return &PrivateKey{in: func() *privateKey { return p }}, nil
}

// Seed is the secret that FromSeed takes: for keystores alone.
func (p *PrivateKey) Seed() [key.SeedSize]byte { return p.in().seed }

// Public implements Opener.
func (p *PrivateKey) Public() key.Encryption { return p.in().pub }

// Open implements Opener.
func (p *PrivateKey) Open(info, ciphertext []byte) ([]byte, error) {
	b, err := hpke.Open(p.in().k, hpke.HKDFSHA256(), hpke.AES256GCM(), info, ciphertext)
	if err != nil {
		// The cause says nothing that the caller could act on, and what
		// it says may differ with the key: it is dropped.
		return nil, ErrOpen
	}
	return b, nil
}

// Format keeps the key out of messages, whatever the verb.
func (p PrivateKey) Format(f fmt.State, _ rune) { hide(f, "seal.PrivateKey") }

// MarshalText refuses.
func (p PrivateKey) MarshalText() ([]byte, error) { return nil, errMarshal }

// sealTo seals to a public key under info.
func sealTo(to key.Encryption, info, plaintext []byte) ([]byte, error) {
	pub, err := hpke.MLKEM768X25519().NewPublicKey(to[:])
	if err != nil {
		return nil, fmt.Errorf("encryption key: %w", err)
	}
	return hpke.Seal(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
}
