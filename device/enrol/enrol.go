// Package enrol has the formats and the conversation by which a device becomes
// one of a member's devices: the device invitation (a URL, or words that a
// person types), the linking channel between the device that gives and the
// newcomer, and the recovery kit.
//
// It promises that nobody who lacks the invitation's secret reads, changes,
// reorders or replays a message of the channel, and that where somebody has it
// (read over a shoulder, photographed) the six digits on the two screens are
// equal with a chance of one in a million at most, whatever that somebody or
// the service does. It does not know what a statement is: what is said about
// rings passes through as bytes that core/ring checks.
//
// Source: spec/identity.md, linking and recovery; PROTOCOL section 2.
package enrol

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"

	"signet"
	"signet/core/key"
)

// A problem is a failure that a person can do something about. Its kind and
// hint are part of the command line's contract.
type problem struct {
	kind, text, hint string
	class            error
}

func (p *problem) Error() string { return p.text }

// ErrorKind is the stable name of the failure.
func (p *problem) ErrorKind() string { return p.kind }

// ErrorHint says what to do about it.
func (p *problem) ErrorHint() string { return p.hint }

// Unwrap is the class of the failure: a sentinel of package signet, or nil.
func (p *problem) Unwrap() error { return p.class }

// What can go wrong. Errors of this package wrap one of them.
var (
	ErrLink error = &problem{"bad_link", "not a Signet link",
		"copy the whole link, from https:// to the end", nil}
	ErrWords error = &problem{"bad_words", "the words are not right",
		"type them again as the other device shows them", nil}
	ErrNewer error = &problem{"newer_format", "made by a newer Signet",
		"update Signet on this device", nil}
	ErrExpired error = &problem{"expired", "the invitation has expired",
		"make a new one: signet device add", signet.ErrNotAllowed}
	ErrNobody error = &problem{"nobody_waiting", "no device is waiting for this invitation",
		"keep `signet device add` running on the other device, and check the link or the words", nil}
	ErrUsed error = &problem{"invitation_used", "another device has answered this invitation",
		"if that was not you, someone has read it; make a new one: signet device add", signet.ErrNotAllowed}
	ErrRefused error = &problem{"refused", "the other side said no",
		"make a new invitation: signet device add", signet.ErrNotAllowed}
	ErrChannel error = &problem{"link_not_verified", "the other side's message does not verify",
		"do not go on with this invitation; make a new one: signet device add", signet.ErrNotVerified}
	ErrKit error = &problem{"bad_recovery_kit", "not a recovery kit",
		"use the file or paper that `signet recovery new` made, whole", nil}
)

// SecretSize is the length of an invitation's secret in bytes: 96 bits, as
// much as six words carry. The link and the words carry the same secret, so
// that the giving device waits in one place for both.
const SecretSize = 12

// A Secret is what the two devices share before they trust each other. It is
// good for one newcomer and for minutes, and what it protects is not secret
// for ever: keys travel in envelopes, never under it.
type Secret [SecretSize]byte

// NewSecret draws a secret.
func NewSecret() (s Secret) {
	rand.Read(s[:])
	return s
}

// String keeps a secret out of messages.
func (s Secret) String() string { return "enrol.Secret(…)" }

// GoString keeps a secret out of messages.
func (s Secret) GoString() string { return "enrol.Secret(…)" }

// derive makes n bytes for one use of the secret. The secret is hashed first
// because HKDF's key must be at least 112 bits long in FIPS mode; that adds no
// strength to its 96.
func (s Secret) derive(l key.Label, salt, context []byte, n int) []byte {
	k := key.Sum(l, s[:])
	b, err := hkdf.Key(sha256.New, k[:], salt, string(l)+"\x00"+string(context), n)
	if err != nil {
		panic(err) // only lengths can be wrong, and they are constants
	}
	return b
}
