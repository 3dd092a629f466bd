package seal

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// An OwnerKind says whose a secret, a seed or an envelope is.
type OwnerKind uint8

// The two kinds of owner.
const (
	OfRing   OwnerKind = 1
	OfRegion OwnerKind = 2
)

// A Secret is the 32 secret bytes that a ring or region keeps through all its
// generations. It names (ids, sums, digests, claims) and opens nothing. It
// does not print, compare or marshal. Safe for concurrent use.
type Secret struct {
	in func() *secret
}

type secret struct {
	b      [key.SeedSize]byte
	pid    []byte // keys the plaintext ids: asked for with every piece
	once   sync.Once
	rolled *rolling
}

// NewSecret makes a new secret.
func NewSecret() *Secret {
	var b [key.SeedSize]byte
	rand.Read(b[:])
	return newSecret(b)
}

// SecretFromBytes takes what Bytes gave.
func SecretFromBytes(b []byte) (*Secret, error) {
	if len(b) != key.SeedSize {
		return nil, fmt.Errorf("secret of %d bytes, want %d", len(b), key.SeedSize)
	}
	return newSecret([key.SeedSize]byte(b)), nil
}

func newSecret(b [key.SeedSize]byte) *Secret {
	in := &secret{b: b, pid: derive(b[:], nil, key.LabelPlaintextID, nil, sumSize)}
	return &Secret{in: func() *secret { return in }}
}

// Bytes is a copy of the secret: for keystores alone.
func (s *Secret) Bytes() []byte { return append([]byte(nil), s.in().b[:]...) }

// labelled is HMAC-SHA256 of context under a key of the label's own.
func (s *Secret) labelled(l key.Label, context []byte) [sumSize]byte {
	return mac(derive(s.in().b[:], nil, l, nil, sumSize), context)
}

// Commit is what the genesis of a ring or region publishes of its secret, and
// what each recipient of an envelope checks.
func (s *Secret) Commit(kind OwnerKind) signet.Hash {
	return s.labelled(key.LabelSecretCommit, []byte{byte(kind)})
}

// RegionClaim is the claim of a region's genesis, s being the ring secret of
// its owner: the same for two devices of a ring that make a region of one name
// at once (so that one wins), and telling nobody the name. count is how many
// regions of that name the ring made before.
func (s *Secret) RegionClaim(name string, count uint32) signet.Hash {
	var w wire.Writer
	w.Vec32([]byte(name))
	w.U32(count)
	return s.labelled(key.LabelRegionClaim, w.B)
}

// DigestKey keys the digests of a region's tree.
func (s *Secret) DigestKey() [sumSize]byte {
	return [sumSize]byte(derive(s.in().b[:], nil, key.LabelDigest, nil, sumSize))
}

// PlaintextID is the keyed id of a piece's bytes: the same for equal
// bytes within a region, and no test of a guess for whoever lacks the secret.
func (s *Secret) PlaintextID(b []byte) [sumSize]byte {
	return s.PlaintextIDOf(sha256.Sum256(b))
}

// PlaintextIDOf is PlaintextID of a piece whose SHA-256 is sum, or the keyed id
// of a file whose file hash is sum.
func (s *Secret) PlaintextIDOf(sum [sumSize]byte) [sumSize]byte { return mac(s.in().pid, sum[:]) }

// Format keeps the secret out of messages, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { hide(f, "seal.Secret") }

// MarshalText refuses.
func (s Secret) MarshalText() ([]byte, error) { return nil, errMarshal }
