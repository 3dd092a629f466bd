package seal

import (
	"crypto/rand"
	"fmt"
	"sync"

	"signet/core/key"
)

// A Seed is the 32 secret bytes of one generation of a ring or region. Its
// HPKE pair and its symmetric keys are derived from it under labels of their
// own. It does not print, compare or marshal.
type Seed struct {
	in func() *seed
}

type seed struct {
	b    [key.SeedSize]byte
	once sync.Once // the pair costs about 0.1 ms, and most seeds seal operations only
	pair *PrivateKey
}

// NewSeed makes the seed of the generation after prev; prev is nil for the
// first. It is secret if either the fresh randomness or prev is.
func NewSeed(prev *Seed) (*Seed, error) {
	var fresh [key.SeedSize]byte
	rand.Read(fresh[:])
	return nextSeed(fresh, prev)
}

func nextSeed(fresh [key.SeedSize]byte, prev *Seed) (*Seed, error) {
	var salt []byte
	if prev != nil {
		salt = prev.in().b[:]
	}
	return SeedFromBytes(derive(fresh[:], salt, key.LabelSeedNext, nil, key.SeedSize))
}

// SeedFromBytes takes what Bytes gave.
func SeedFromBytes(b []byte) (*Seed, error) {
	if len(b) != key.SeedSize {
		return nil, fmt.Errorf("seed of %d bytes, want %d", len(b), key.SeedSize)
	}
	s := &seed{}
	copy(s.b[:], b)
	return &Seed{in: func() *seed { return s }}, nil
}

// Bytes is a copy of the secret: for keystores alone.
func (s *Seed) Bytes() []byte { return append([]byte(nil), s.in().b[:]...) }

// Opener is the generation's HPKE pair.
func (s *Seed) Opener() *PrivateKey {
	s.in().once.Do(func() {
		p, err := FromSeed([key.SeedSize]byte(derive(s.in().b[:], nil, key.LabelSeedKEM, nil, key.SeedSize)))
		if err != nil {
			panic("seal: " + err.Error()) // 32 bytes always make a pair
		}
		s.in().pair = p
	})
	return s.in().pair
}

// Public is the public half of the generation's pair: what others seal to, and
// the commitment by which each recipient recognises the seed.
func (s *Seed) Public() key.Encryption { return s.Opener().Public() }

// Format keeps the seed out of messages, whatever the verb.
func (s Seed) Format(f fmt.State, _ rune) { hide(f, "seal.Seed") }

// MarshalText refuses.
func (s Seed) MarshalText() ([]byte, error) { return nil, errMarshal }
