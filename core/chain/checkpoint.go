package chain

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"signet"
	"signet/core/key"
)

// Failures of Open, for messages and tests; each wraps signet.ErrNotVerified,
// as does key.ErrSignature, the fourth.
var (
	ErrMalformed = fmt.Errorf("malformed checkpoint: %w", signet.ErrNotVerified)
	ErrOtherLog  = fmt.Errorf("checkpoint of another log: %w", signet.ErrNotVerified)
	ErrOtherKeys = fmt.Errorf("checkpoint by other log keys: %w", signet.ErrNotVerified)
)

// MaxCheckpoint is the largest encoded checkpoint in bytes; a full one has
// about 4,700.
const MaxCheckpoint = 8 << 10

const (
	origin   = "signet/checkpoint/"
	signed   = "— " // what begins a signature line of a signed note
	nameTip  = "tip"
	nameFull = "full"
)

// A Checkpoint is a log's size and root, signed by the service. A value that
// Open or Sign returned is verified; do not change its fields.
type Checkpoint struct {
	Log  signet.LogID
	Size uint64
	Root signet.Hash
	Time int64 // milliseconds since 1970, by the service
	Full bool  // signed with Ed25519 and ML-DSA-65; a tip has Ed25519 alone

	raw []byte // exactly as received
	sig []byte // the key id and the signature, decoded
}

// Sign makes the checkpoint of a log: a full one, or a tip. time is in
// milliseconds since 1970; a service never signs a smaller one for a log than
// it did before (spec/chain.md, "Time").
func Sign(s key.Signer, log signet.LogID, size uint64, root signet.Hash, time int64, full bool) (*Checkpoint, error) {
	if size > MaxSize || time < 0 || (size == 0 && root != emptyRoot) {
		return nil, fmt.Errorf("sign checkpoint of %s: size %d, root %s, time %d out of bounds", log, size, root, time)
	}
	c := &Checkpoint{Log: log, Size: size, Root: root, Time: time, Full: full}
	sig, err := s.Sign(c.label(), c.text())
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint of %s: %w", log, err)
	}
	id := keyID(s.Public(), c.name())
	c.sig = append(id[:], sig...)
	c.raw = c.note()
	return c, nil
}

// Open reads a checkpoint and verifies that it is of log and signed by pub.
// raw is copied. Every failure wraps signet.ErrNotVerified. What was opened lately is
// looked up.
func Open(raw []byte, log signet.LogID, pub *key.Public) (*Checkpoint, error) {
	t := trace(raw, log, pub)
	if c := opened.get(t); c != nil {
		return c, nil
	}
	c, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if c.Log != log {
		return nil, fmt.Errorf("%w: %s, not %s", ErrOtherLog, c.Log, log)
	}
	if err := c.verify(pub); err != nil {
		return nil, err
	}
	opened.add(t, c)
	return c, nil
}

// Bytes is the checkpoint exactly as signed or received; not to be changed.
func (c *Checkpoint) Bytes() []byte { return c.raw }

// Hash names what the checkpoint says: the hash of its signed text. A tip and
// a full checkpoint of the same text have the same Hash.
func (c *Checkpoint) Hash() signet.Hash { return key.Sum(key.LabelCheckpointHash, c.text()) }

// String is for messages.
func (c *Checkpoint) String() string {
	return fmt.Sprintf("%s at size %d, root %s, time %d", c.Log, c.Size, c.Root, c.Time)
}

// KeysHash is the hash of a log's public keys, which every invitation pins.
func KeysHash(pub *key.Public) signet.Hash { return key.Sum(key.LabelLogKeys, pub.Bytes()) }

// keyID is the first four bytes of a hash over the name in the signature line
// and the public keys: it tells a wrong key from a wrong signature, no more.
func keyID(pub *key.Public, name string) (id [4]byte) {
	h := key.Sum(key.LabelLogKeys, []byte(name), pub.Bytes())
	copy(id[:], h[:])
	return id
}

func (c *Checkpoint) name() string {
	if c.Full {
		return nameFull
	}
	return nameTip
}

func (c *Checkpoint) label() key.Label {
	if c.Full {
		return key.LabelFull
	}
	return key.LabelTip
}

// text is what is signed.
func (c *Checkpoint) text() []byte {
	return fmt.Appendf(nil, "%s%s\n%d\n%s\ntime %d\n",
		origin, c.Log, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]), c.Time)
}

// note is the whole checkpoint. Its only inputs are the fields that parse
// fills, so a text that parse accepts has one spelling.
func (c *Checkpoint) note() []byte {
	return fmt.Appendf(c.text(), "\n%s%s %s\n", signed, c.name(), base64.StdEncoding.EncodeToString(c.sig))
}

func (c *Checkpoint) verify(pub *key.Public) error {
	id := keyID(pub, c.name())
	if !bytes.Equal(c.sig[:len(id)], id[:]) {
		return fmt.Errorf("%w: %s", ErrOtherKeys, c.Log)
	}
	if err := pub.Verify(c.label(), c.text(), c.sig[len(id):]); err != nil {
		return fmt.Errorf("checkpoint of %s at %d: %w", c.Log, c.Size, err)
	}
	return nil
}

// parse reads a checkpoint without verifying it. It takes the lines apart
// leniently and then compares the whole with what it would have written: that
// refuses leading zeros, signs, spaces, carriage returns inside base64 and
// further lines in one place.
func parse(raw []byte) (*Checkpoint, error) {
	if len(raw) > MaxCheckpoint {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(raw))
	}
	c, err := fields(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	c.raw = c.note()
	if !bytes.Equal(c.raw, raw) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrMalformed)
	}
	return c, nil
}

func fields(s string) (*Checkpoint, error) {
	line := strings.Split(s, "\n")
	if len(line) != 7 || line[4] != "" || line[6] != "" {
		return nil, errors.New("not four lines, an empty one and one signature")
	}
	name, ok := strings.CutPrefix(line[0], origin)
	if !ok {
		return nil, errors.New("no origin")
	}
	c := &Checkpoint{}
	var err error
	if c.Log, err = signet.ParseLogID(name); err != nil {
		return nil, err
	}
	if c.Size, err = strconv.ParseUint(line[1], 10, 64); err != nil || c.Size > MaxSize {
		return nil, errors.New("size is not a number in bounds")
	}
	root, err := base64.StdEncoding.DecodeString(line[2])
	if err != nil || len(root) != len(c.Root) {
		return nil, errors.New("root is not a hash")
	}
	c.Root = signet.Hash(root)
	if c.Size == 0 && c.Root != emptyRoot {
		return nil, errors.New("root of the empty log is not the hash of nothing")
	}
	ms, ok := strings.CutPrefix(line[3], "time ")
	if c.Time, err = strconv.ParseInt(ms, 10, 64); !ok || err != nil || c.Time < 0 {
		return nil, errors.New("time is not a number in bounds")
	}
	return c, c.signature(line[5])
}

func (c *Checkpoint) signature(line string) (err error) {
	rest, ok := strings.CutPrefix(line, signed)
	name, b64, cut := strings.Cut(rest, " ")
	if !ok || !cut || (name != nameTip && name != nameFull) {
		return errors.New("signature line is neither of a tip nor of a full checkpoint")
	}
	c.Full = name == nameFull
	if c.sig, err = base64.StdEncoding.DecodeString(b64); err != nil {
		return errors.New("signature is not base64")
	}
	if len(c.sig) != 4+key.SignatureSize(c.label()) {
		return fmt.Errorf("signature of a %s checkpoint with %d bytes", name, len(c.sig))
	}
	return nil
}
