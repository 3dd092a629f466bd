package seal

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A RecipientKind says to what an envelope is sealed.
type RecipientKind uint8

// The two kinds of recipient.
const (
	ToDevice RecipientKind = 1 // a device's encryption key
	ToRing   RecipientKind = 2 // a ring's generation key
)

const envelopeFormat = 1

// EnvelopeSize is the length of every envelope in bytes: format, encapsulated
// key (ML-KEM-768 and X25519), seed, secret, tag.
const EnvelopeSize = 1 + 1120 + key.SeedSize + key.SeedSize + tagSize

// A Context is everything that an envelope is bound to. All of it goes into
// the HPKE info, so an envelope moved to another place opens nowhere.
type Context struct {
	Org                 signet.OrgID
	OwnerKind           OwnerKind
	Owner               [32]byte          // RingID or RegionID; in a genesis, whose id is not known yet, its claim
	Generation          signet.Generation // of the seed inside
	RecipientKind       RecipientKind
	Recipient           [32]byte          // DeviceID or RingID
	RecipientGeneration signet.Generation // of a ring; zero for a device
	Giver               signet.DeviceID   // who seals
}

func (c *Context) info() []byte {
	var w wire.Writer
	w.Raw([]byte(key.LabelEnvelope))
	w.U8(0)
	w.U8(suite)
	w.U8(envelopeFormat)
	w.Raw(c.Org[:])
	w.U8(uint8(c.OwnerKind))
	w.Raw(c.Owner[:])
	w.U32(uint32(c.Generation))
	w.U8(uint8(c.RecipientKind))
	w.Raw(c.Recipient[:])
	w.U32(uint32(c.RecipientGeneration))
	w.Raw(c.Giver[:])
	return w.B
}

// SealEnvelope seals a generation's seed, and the secret of its owner, to a
// recipient's key. The result has EnvelopeSize bytes.
func SealEnvelope(c Context, to key.Encryption, seed *Seed, secret *Secret) ([]byte, error) {
	payload := append(seed.Bytes(), secret.in().b[:]...)
	ct, err := sealTo(to, c.info(), payload)
	if err != nil {
		return nil, fmt.Errorf("seal envelope: %w", err)
	}
	return append([]byte{envelopeFormat}, ct...), nil
}

// OpenEnvelope opens an envelope and checks what it holds: the seed against
// the generation's public key (commitment), and the secret against the
// commitment in the genesis of the owner. A giver that sealed anything else is
// ErrKeyCommitment; an envelope that does not open at all is ErrOpen; both are
// signet.ErrNotVerified. What a PrivateKey opened it has still.
func OpenEnvelope(c Context, with Opener, envelope []byte, commitment key.Encryption, secretCommit signet.Hash) (*Seed, *Secret, error) {
	if len(envelope) != EnvelopeSize {
		return nil, nil, fmt.Errorf("open envelope: %d bytes, want %d: %w", len(envelope), EnvelopeSize, ErrOpen)
	}
	if envelope[0] != envelopeFormat {
		return nil, nil, fmt.Errorf("open envelope: format %d, only %d is known: %w", envelope[0], envelopeFormat, ErrOpen)
	}
	info := c.info()
	var had *envelopes
	if k, ok := with.(*PrivateKey); ok {
		had = &k.in().had
	}
	t := envelopeTrace(info, envelope, commitment, secretCommit)
	if o := had.get(t); o != nil {
		return o.seed, o.secret, nil
	}
	p, err := with.Open(info, envelope[1:])
	if err != nil {
		return nil, nil, fmt.Errorf("open envelope: %w", err)
	}
	if len(p) != 2*key.SeedSize { // an Opener is an interface: its word is checked
		return nil, nil, fmt.Errorf("open envelope: payload of %d bytes: %w", len(p), ErrOpen)
	}
	seed, err := SeedFromBytes(p[:key.SeedSize])
	if err != nil {
		return nil, nil, err
	}
	secret := newSecret([key.SeedSize]byte(p[key.SeedSize:]))
	if seed.Public() != commitment {
		return nil, nil, fmt.Errorf("open envelope: seed: %w", ErrKeyCommitment)
	}
	if secret.Commit(c.OwnerKind) != secretCommit {
		return nil, nil, fmt.Errorf("open envelope: secret: %w", ErrKeyCommitment)
	}
	had.add(t, &openedEnvelope{seed, secret})
	return seed, secret, nil
}

// envelopes are what one key opened: a device asks for the same envelope when it
// resumes a tree and when it replays what came after, and opening takes 200 µs. They
// are held no longer than the key is, which opens them anyway.
type envelopes struct {
	mu sync.Mutex
	m  map[[sha256.Size]byte]*openedEnvelope
}

type openedEnvelope struct {
	seed   *Seed
	secret *Secret
}

// mostEnvelopes is how many a key remembers.
const mostEnvelopes = 32

// envelopeTrace is what an opened envelope is found by: all that its opening rests on.
// All parts but info have a fixed length.
func envelopeTrace(info, envelope []byte, commitment key.Encryption, secretCommit signet.Hash) (t [sha256.Size]byte) {
	h := sha256.New()
	h.Write(envelope)
	h.Write(commitment[:])
	h.Write(secretCommit[:])
	h.Write(info)
	h.Sum(t[:0])
	return t
}

func (e *envelopes) get(t [sha256.Size]byte) *openedEnvelope {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.m[t]
}

func (e *envelopes) add(t [sha256.Size]byte, o *openedEnvelope) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.m == nil || len(e.m) >= mostEnvelopes {
		e.m = make(map[[sha256.Size]byte]*openedEnvelope)
	}
	e.m[t] = o
}

// A BackContext is what a back-link is bound to.
type BackContext struct {
	Org        signet.OrgID
	OwnerKind  OwnerKind
	Owner      [32]byte
	Generation signet.Generation // of the newer seed; the one inside is the one before
}

func (c *BackContext) bytes() []byte {
	var w wire.Writer
	w.Raw(c.Org[:])
	w.U8(uint8(c.OwnerKind))
	w.Raw(c.Owner[:])
	w.U32(uint32(c.Generation))
	return w.B
}

// SealBack seals the seed of the previous generation under the new one, so
// that whoever holds the new one can open what is older.
func SealBack(c BackContext, seed, prev *Seed) ([]byte, error) {
	return sealBlob(seed, key.LabelSeedBack, c.bytes(), prev.in().b[:])
}

// OpenBack opens a back-link and checks the seed inside against the previous
// generation's public key; another seed is ErrKeyCommitment.
func OpenBack(c BackContext, seed *Seed, link []byte, prevCommitment key.Encryption) (*Seed, error) {
	b, err := openBlob(seed, key.LabelSeedBack, c.bytes(), link)
	if err != nil {
		return nil, fmt.Errorf("open back-link: %w", err)
	}
	prev, err := SeedFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("open back-link: %w: %w", err, ErrOpen)
	}
	if prev.Public() != prevCommitment {
		return nil, fmt.Errorf("open back-link: %w", ErrKeyCommitment)
	}
	return prev, nil
}
