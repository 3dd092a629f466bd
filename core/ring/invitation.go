package ring

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// An Invitation is a capability: whoever holds its private key may make one
// ring in the organisation. It is signed by an officer's device or by a
// connector; its type is Admit.
type Invitation struct {
	Org    signet.OrgID
	Claim  signet.Hash // hash of the invitation's public key
	Role   Role
	Label  signet.Hash // salted hash of the name it was made for
	Expiry int64       // ms since 1970
	Issuer signet.DeviceID

	signed, sig, raw []byte
}

// A Role is what an organisation lets a member be. More come later.
type Role uint8

// RoleMember is the lowest role, the only one a connector can give.
const RoleMember Role = 1

const maxInvitation = 8 << 10 // bytes

// ClaimOf is the hash that an Invitation names its key by.
func ClaimOf(p *key.Public) signet.Hash { return key.Sum(key.LabelInvite, p.Bytes()) }

// Bytes is the invitation as signed.
func (i *Invitation) Bytes() []byte { return i.raw }

// Sign signs an invitation whose fields are set.
func (i *Invitation) Sign(by key.Signer) error {
	w := wire.Writer{}
	w.U8(key.Suite)
	w.U8(format)
	w.U8(uint8(Admit))
	w.Raw(i.Org[:])
	w.Raw(i.Claim[:])
	w.U8(uint8(i.Role))
	w.Raw(i.Label[:])
	w.I64(i.Expiry)
	w.Raw(i.Issuer[:])
	i.signed = w.B
	var err error
	if i.sig, err = by.Sign(key.LabelAdmit, i.signed); err != nil {
		return err
	}
	i.raw = append(append([]byte(nil), i.signed...), i.sig...)
	return nil
}

// ParseInvitation reads an invitation; State checks its signature when it is
// redeemed, and a newcomer should with VerifyInvitation.
func ParseInvitation(b []byte) (*Invitation, error) {
	b = append([]byte(nil), b...)
	r := wire.NewReader(b)
	i := &Invitation{raw: b}
	if s, f, t := r.U8(), r.U8(), Type(r.U8()); r.Err() == nil && (s != key.Suite || f != format || t != Admit) {
		r.Fail("suite %d, format %d, type %d", s, f, t)
	}
	r.Raw(i.Org[:])
	r.Raw(i.Claim[:])
	i.Role = Role(r.U8())
	r.Raw(i.Label[:])
	i.Expiry = r.I64()
	r.Raw(i.Issuer[:])
	if r.Err() == nil && i.Role != RoleMember {
		r.Fail("unknown role %d", i.Role)
	}
	i.signed = b[:max(0, len(b)-r.Len())]
	i.sig = r.Take(key.BothSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	return i, nil
}

// LabelHash is how an invitation names whom it is for.
func LabelHash(salt [16]byte, label string) signet.Hash {
	return key.Sum(key.LabelProfile, salt[:], []byte(label))
}

// An Invite is what an enrolment URL's fragment carries: everything that the
// newcomer must not have to take from the service. The zero Org means that
// the organisation is to be made (then Secret is the bootstrap secret);
// otherwise Secret is the seed of the invitation's key.
type Invite struct {
	URL     string // the service's, without the fragment
	Org     signet.OrgID
	Secret  [32]byte
	LogKeys signet.Hash // hash of the key that signs the service's checkpoints
	Pin     []byte      // SHA-256 of the service's certificate, or empty: ask the system's roots
	Salt    [16]byte
	Label   string // whom it is for
}

// fragmentInvite begins the fragment of an enrolment URL; device invitations
// begin otherwise.
const fragmentInvite = "e1."

// String is the enrolment URL.
func (i *Invite) String() string {
	var w wire.Writer
	w.Raw(i.Org[:])
	w.Raw(i.Secret[:])
	w.Raw(i.LogKeys[:])
	w.Vec8(i.Pin)
	w.Raw(i.Salt[:])
	w.Vec8([]byte(i.Label))
	return strings.TrimSuffix(i.URL, "/") + "/#" + fragmentInvite + base64.RawURLEncoding.EncodeToString(w.B)
}

// IsInvite reports whether s looks like an enrolment URL.
func IsInvite(s string) bool { return strings.Contains(s, "#"+fragmentInvite) }

// ParseInvite reads an enrolment URL.
func ParseInvite(s string) (*Invite, error) {
	address, fragment, ok := strings.Cut(strings.TrimSpace(s), "#")
	fragment, ok2 := strings.CutPrefix(fragment, fragmentInvite)
	u, err := url.Parse(address)
	if !ok || !ok2 || err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("not an enrolment URL: %w", wire.ErrMalformed)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(fragment)
	if err != nil {
		return nil, fmt.Errorf("enrolment URL: the part after # is cut off or mistyped: %w", wire.ErrMalformed)
	}
	r := wire.NewReader(b)
	i := &Invite{URL: strings.TrimSuffix(address, "/")}
	r.Raw(i.Org[:])
	r.Raw(i.Secret[:])
	r.Raw(i.LogKeys[:])
	i.Pin = r.Vec8(32)
	r.Raw(i.Salt[:])
	i.Label = string(r.Vec8(255))
	// The label is shown on a terminal: no escape sequence comes that way.
	if !utf8.ValidString(i.Label) || strings.ContainsFunc(i.Label, unicode.IsControl) {
		r.Fail("label is not text")
	}
	if n := len(i.Pin); r.Err() == nil && n != 0 && n != 32 {
		r.Fail("fingerprint of %d bytes", n)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("enrolment URL: the part after # is cut off or mistyped: %w", err)
	}
	return i, nil
}

// BootstrapHash is how a root statement shows that its maker holds the
// bootstrap secret.
func BootstrapHash(secret [32]byte) signet.Hash { return key.Sum(key.LabelBootstrap, secret[:]) }
