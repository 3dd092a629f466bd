package enrol

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A Slot names one message's place on the service. Slots of one conversation
// have nothing in common for who lacks the secret.
type Slot [32]byte

// A Relay keeps sealed messages for a short time. The service is one; it is
// trusted with nothing but to be there.
type Relay interface {
	// Put stores a message in an empty slot; signet.ErrConflict where the
	// slot holds another one.
	Put(ctx context.Context, slot Slot, message []byte) error
	// Get returns the message in slot, waiting for it until ctx ends.
	Get(ctx context.Context, slot Slot) ([]byte, error)
}

// The steps of a conversation, each one message. The number is also the
// message's type: what is sealed for one step opens at no other.
const (
	stepOffer     = iota // giver: who I am
	stepHello            // newcomer: commitment to its nonce and keys
	stepChallenge        // giver: its nonce
	stepReveal           // newcomer: its nonce and keys
	stepConfirm          // newcomer: its person saw the same code, or not
	stepWelcome          // giver: its person saw the same code and the ring has the device, or not
)

// Messages are padded to a multiple of padTo, so that what the service sees
// tells the step and no more. They are never larger than maxMessage bytes
// sealed, which is what the service relays; maxBody leaves room for the seal.
const (
	padTo      = 16 << 10
	maxMessage = 64 << 10
	maxBody    = 3*padTo - 3
)

// A channel is one end of a conversation. bound is the running hash of all
// that was said up to the reveal; every message carries it as additional data,
// so both ends know that they heard the same, in the same order.
type channel struct {
	secret Secret
	relay  Relay
	bound  signet.Hash
}

func newChannel(s Secret, r Relay) channel {
	return channel{secret: s, relay: r, bound: key.Sum(key.LabelLinkTranscript)}
}

func (c *channel) slot(step byte) Slot {
	return Slot(c.secret.derive(key.LabelLinkPlace, nil, []byte{step}, len(Slot{})))
}

// sealer has a key of its own for each step, hence for each direction.
func (c *channel) sealer(step byte) cipher.AEAD {
	block, err := aes.NewCipher(c.secret.derive(key.LabelLink, nil, []byte{step}, 32))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// advance makes a message part of what both ends agree on. Nothing after the
// reveal is: the code is fixed by then, and either side may say its yes or no
// first.
func (c *channel) advance(step byte, body []byte) {
	if step <= stepReveal {
		c.bound = key.Sum(key.LabelLinkTranscript, c.bound[:], []byte{step}, body)
	}
}

func (c *channel) send(ctx context.Context, step byte, body []byte) error {
	if len(body) > maxBody {
		return fmt.Errorf("link: message of %d bytes, at most %d can be sent", len(body), maxBody)
	}
	var w wire.Writer
	w.Vec24(body)
	w.Raw(make([]byte, (padTo-len(w.B)%padTo)%padTo))
	sealed := c.sealer(step).Seal(nil, nil, w.B, append([]byte{step}, c.bound[:]...))
	err := c.relay.Put(ctx, c.slot(step), sealed)
	if errors.Is(err, signet.ErrConflict) {
		return fmt.Errorf("link: %w", ErrUsed)
	} else if err != nil {
		return fmt.Errorf("link: send: %w", err)
	}
	c.advance(step, body)
	return nil
}

func (c *channel) receive(ctx context.Context, step byte) ([]byte, error) {
	sealed, err := c.relay.Get(ctx, c.slot(step))
	if err != nil {
		return nil, fmt.Errorf("link: wait: %w", err)
	}
	if len(sealed) > maxMessage {
		return nil, fmt.Errorf("link: message of %d bytes: %w", len(sealed), ErrChannel)
	}
	padded, err := c.sealer(step).Open(nil, nil, sealed, append([]byte{step}, c.bound[:]...))
	if err != nil {
		return nil, fmt.Errorf("link: message %d: %w", step, ErrChannel)
	}
	r := wire.NewReader(padded)
	body := r.Vec24(maxBody)
	for _, b := range r.Take(r.Len()) {
		if b != 0 {
			r.Fail("padding")
		}
	}
	if r.Done() != nil {
		return nil, fmt.Errorf("link: message %d is malformed: %w", step, ErrChannel)
	}
	c.advance(step, body)
	return body, nil
}

// A Code is the six digits that both devices show.
type Code uint32

// String is the code as people compare it: "042517".
func (c Code) String() string { return fmt.Sprintf("%06d", uint32(c)) }

// code follows from all that was said. Neither end can steer it: the newcomer
// had committed to its part before it saw the giver's, and the giver sent its
// part before it saw the newcomer's.
func (c *channel) code() Code {
	var v uint64
	for _, b := range c.secret.derive(key.LabelLinkCode, c.bound[:], nil, 8) {
		v = v<<8 | uint64(b)
	}
	return Code(v % 1_000_000)
}
