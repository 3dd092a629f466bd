package enrol

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Limits of what a newcomer says about itself, in bytes.
const (
	maxName   = 255
	maxRecord = 16 << 10
	maxIntro  = 32 << 10

	nonceSize = 32
)

// Answers of the last two steps.
const (
	sayNo  = 0
	sayYes = 1
)

// An Introduction is the giver's first message: what a newcomer that has only
// the words must know, and what one that has the link compares with it.
type Introduction struct {
	Org         signet.OrgID
	Ring        signet.RingID
	LogKeys     signet.Hash
	Certificate signet.Hash // zero where public authorities vouch for the service
	Ringwise    []byte      // for core/ring; at most 32 KiB, may be empty
}

func (i Introduction) encode() []byte {
	var w wire.Writer
	w.U8(invitationFormat)
	w.Raw(i.Org[:])
	w.Raw(i.Ring[:])
	w.Raw(i.LogKeys[:])
	w.Raw(i.Certificate[:])
	w.Vec24(i.Ringwise)
	return w.B
}

func decodeIntroduction(b []byte) (i Introduction, err error) {
	r := wire.NewReader(b)
	if f := r.U8(); r.Err() == nil && f > invitationFormat {
		return i, fmt.Errorf("link: introduction of format %d: %w", f, ErrNewer)
	}
	r.Raw(i.Org[:])
	r.Raw(i.Ring[:])
	r.Raw(i.LogKeys[:])
	r.Raw(i.Certificate[:])
	i.Ringwise = r.Vec24(maxIntro)
	if r.Done() != nil {
		return Introduction{}, fmt.Errorf("link: introduction is malformed: %w", ErrChannel)
	}
	return i, nil
}

// Matches fails with ErrChannel unless the introduction says what the link
// said.
func (i Introduction) Matches(link DeviceInvitation) error {
	if i.Org != link.Org || i.Ring != link.Ring || i.LogKeys != link.LogKeys || i.Certificate != link.Certificate {
		return fmt.Errorf("link: the other device names another organisation, ring or service than the link: %w", ErrChannel)
	}
	return nil
}

// A Request is what the giver learns of the newcomer. Nothing in it is proven
// but that Record is what the newcomer had committed to: a person compares the
// code, core/ring checks Record and Reverse.
type Request struct {
	Name     string // as its person called it; not trusted, escape before showing
	Platform string
	Record   []byte // the device record: public keys and class
	Reverse  []byte // the newcomer's reverse signature
	Code     Code
}

// A Giver is the device that adds another. Use its methods in order.
type Giver struct{ c channel }

// Offer opens the conversation: it leaves the introduction where the secret's
// holder finds it. Where it fails nothing has happened.
func Offer(ctx context.Context, r Relay, s Secret, i Introduction) (*Giver, error) {
	g := &Giver{newChannel(s, r)}
	return g, g.c.send(ctx, stepOffer, i.encode())
}

// Await waits for a newcomer and hears who it is. The caller shows the code
// and asks its person, then calls Confirmed and Welcome, or Refuse.
func (g *Giver) Await(ctx context.Context) (Request, error) {
	hello, err := g.c.receive(ctx, stepHello)
	if err != nil {
		return Request{}, err
	}
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	if err := g.c.send(ctx, stepChallenge, nonce[:]); err != nil {
		return Request{}, err
	}
	reveal, err := g.c.receive(ctx, stepReveal)
	if err != nil {
		return Request{}, err
	}
	// Everything the newcomer says must be what it committed to: one that
	// could choose a nonce, a key or only its name after the challenge could
	// try until the code suits it.
	if commit := commitment(reveal); subtle.ConstantTimeCompare(commit[:], hello) != 1 {
		return Request{}, fmt.Errorf("link: the newcomer is not what it committed to: %w", ErrChannel)
	}
	r := wire.NewReader(reveal)
	r.Take(nonceSize)
	q := Request{Record: r.Vec16(maxRecord), Reverse: r.Vec16(maxRecord), Name: string(r.Vec8(maxName)), Platform: string(r.Vec8(maxName)), Code: g.c.code()}
	if r.Done() != nil {
		return Request{}, fmt.Errorf("link: reveal is malformed: %w", ErrChannel)
	}
	return q, nil
}

// Confirmed waits until the newcomer's person has said that the codes are
// equal. ErrRefused where they said no.
func (g *Giver) Confirmed(ctx context.Context) error {
	_, err := g.c.answer(ctx, stepConfirm)
	return err
}

// Welcome ends the conversation with what the newcomer needs from core/ring:
// it is sent only after the ring has the device. payload is at most 49,148 bytes.
func (g *Giver) Welcome(ctx context.Context, payload []byte) error {
	return g.c.send(ctx, stepWelcome, append([]byte{sayYes}, payload...))
}

// Refuse ends the conversation without adding the device.
func (g *Giver) Refuse(ctx context.Context) error {
	return g.c.send(ctx, stepWelcome, []byte{sayNo})
}

// A Newcomer is the device that wants to be added. Use its methods in order.
type Newcomer struct{ c channel }

// Meet finds the giver and hears its introduction; only after that has
// verified does the newcomer say anything. The caller compares the
// introduction with the link, and the certificate with the connection's,
// before it goes on. ErrNobody where ctx's deadline passes first.
func Meet(ctx context.Context, r Relay, s Secret) (*Newcomer, Introduction, error) {
	n := &Newcomer{newChannel(s, r)}
	b, err := n.c.receive(ctx, stepOffer)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, signet.ErrNotFound) {
		return nil, Introduction{}, fmt.Errorf("link: %w", ErrNobody)
	} else if err != nil {
		return nil, Introduction{}, err
	}
	i, err := decodeIntroduction(b)
	return n, i, err
}

// Ask commits to what the newcomer is, hears the giver's nonce, then shows it:
// the device record (public keys and class) and its reverse signature. It
// returns the code to compare.
func (n *Newcomer) Ask(ctx context.Context, name, platform string, record, reverse []byte) (Code, error) {
	if len(name) > maxName || len(platform) > maxName || len(record) > maxRecord || len(reverse) > maxRecord {
		return 0, fmt.Errorf("link: the device's name or record is too long")
	}
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	var w wire.Writer
	w.Raw(nonce[:])
	w.Vec16(record)
	w.Vec16(reverse)
	w.Vec8([]byte(name))
	w.Vec8([]byte(platform))
	commit := commitment(w.B)
	if err := n.c.send(ctx, stepHello, commit[:]); err != nil {
		return 0, err
	}
	challenge, err := n.c.receive(ctx, stepChallenge)
	if err != nil {
		return 0, err
	}
	if len(challenge) != nonceSize {
		return 0, fmt.Errorf("link: challenge of %d bytes: %w", len(challenge), ErrChannel)
	}
	if err := n.c.send(ctx, stepReveal, w.B); err != nil {
		return 0, err
	}
	return n.c.code(), nil
}

// Confirm tells the giver that this side's person found the codes equal.
func (n *Newcomer) Confirm(ctx context.Context) error {
	return n.c.send(ctx, stepConfirm, []byte{sayYes})
}

// Refuse tells the giver that the codes differ.
func (n *Newcomer) Refuse(ctx context.Context) error {
	return n.c.send(ctx, stepConfirm, []byte{sayNo})
}

// Welcomed waits for the giver's last message, which comes when the ring has
// this device. ErrRefused where the giver's person said no.
func (n *Newcomer) Welcomed(ctx context.Context) ([]byte, error) {
	return n.c.answer(ctx, stepWelcome)
}

// answer receives a yes with what follows it, or a no.
func (c *channel) answer(ctx context.Context, step byte) ([]byte, error) {
	b, err := c.receive(ctx, step)
	switch {
	case err != nil:
		return nil, err
	case len(b) > 0 && b[0] == sayYes:
		return b[1:], nil
	case len(b) == 1 && b[0] == sayNo:
		return nil, fmt.Errorf("link: %w", ErrRefused)
	}
	return nil, fmt.Errorf("link: answer is malformed: %w", ErrChannel)
}

// commitment binds a newcomer to its reveal, which begins with a fresh nonce,
// and tells nothing of it.
func commitment(reveal []byte) signet.Hash { return key.Sum(key.LabelLinkCommit, reveal) }

// Over goes on over another relay: the same service, reached by a connection
// that the introduction vouches for.
func (n *Newcomer) Over(r Relay) { n.c.relay = r }
