package enrol

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"signet"
	"signet/core/wire"
)

// invitationFormat is the number of the format of a device invitation's
// fragment; deviceMark is the letter that the fragment begins with.
const (
	invitationFormat = 1
	deviceMark       = "d"
)

// A DeviceInvitation is what `signet device add` shows and a new device reads.
// All of it but Service travels in the URL's fragment, which no browser or
// program sends to a service.
type DeviceInvitation struct {
	Service     string // the service's URL, without fragment
	Secret      Secret // opens the linking channel
	Org         signet.OrgID
	Ring        signet.RingID // the member's ring, by the hash of its genesis
	LogKeys     signet.Hash   // hash of the service's log keys
	Certificate signet.Hash   // SHA-256 of the service's certificate; zero where public authorities vouch for it
	Expires     time.Time     // to the second
}

// URL writes i as a link. It is the only thing the newcomer needs.
func (i DeviceInvitation) URL() string {
	var w wire.Writer
	w.U8(invitationFormat)
	w.Raw(i.Secret[:])
	w.Raw(i.Org[:])
	w.Raw(i.Ring[:])
	w.Raw(i.LogKeys[:])
	w.U64(uint64(i.Expires.Unix()))
	if i.Certificate != (signet.Hash{}) {
		w.Raw(i.Certificate[:])
	}
	return strings.TrimSuffix(i.Service, "/") + "/#" + deviceMark + base64.RawURLEncoding.EncodeToString(w.B)
}

// IsDeviceInvitation reports whether text looks like a device invitation, as
// against one that admits a member.
func IsDeviceInvitation(text string) bool {
	_, fragment, _ := strings.Cut(text, "#")
	return strings.HasPrefix(fragment, deviceMark)
}

// ParseDeviceInvitation reads what URL wrote. Errors wrap ErrLink or ErrNewer
// and never repeat the link, which holds a secret. It does not look at the
// clock: see Check.
func ParseDeviceInvitation(text string) (i DeviceInvitation, err error) {
	base, fragment, _ := strings.Cut(strings.TrimSpace(text), "#")
	if i.Service, err = ServiceURL(base); err != nil {
		return DeviceInvitation{}, err
	}
	encoded, ok := strings.CutPrefix(fragment, deviceMark)
	if !ok {
		return DeviceInvitation{}, fmt.Errorf("no device invitation in the link: %w", ErrLink)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return DeviceInvitation{}, fmt.Errorf("the link is damaged: %w", ErrLink)
	}
	r := wire.NewReader(b)
	if f := r.U8(); r.Err() == nil && f > invitationFormat {
		return DeviceInvitation{}, fmt.Errorf("invitation of format %d: %w", f, ErrNewer)
	} else if f != invitationFormat {
		return DeviceInvitation{}, fmt.Errorf("the link is damaged: %w", ErrLink)
	}
	r.Raw(i.Secret[:])
	r.Raw(i.Org[:])
	r.Raw(i.Ring[:])
	r.Raw(i.LogKeys[:])
	seconds := r.U64()
	if r.Len() > 0 {
		r.Raw(i.Certificate[:])
		if i.Certificate == (signet.Hash{}) {
			r.Fail("zero certificate") // one spelling only: absent
		}
	}
	if seconds > 1<<40 {
		r.Fail("expiry")
	}
	if r.Done() != nil {
		return DeviceInvitation{}, fmt.Errorf("the link is damaged or cut short: %w", ErrLink)
	}
	i.Expires = time.Unix(int64(seconds), 0).UTC()
	return i, nil
}

// Check fails with ErrExpired where i is no longer good at now.
func (i DeviceInvitation) Check(now time.Time) error {
	if !now.Before(i.Expires) {
		return fmt.Errorf("it was good until %s: %w", i.Expires.Format(time.RFC3339), ErrExpired)
	}
	return nil
}

// ServiceURL checks the address of a service and brings it to its one
// spelling: https, or http on loopback, no user, query or fragment, no slash
// at the end.
func ServiceURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Opaque != "" || u.Fragment != "" {
		return "", fmt.Errorf("not the address of a service: %w", ErrLink)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return "", fmt.Errorf("plain http is for loopback only: %w", ErrLink)
		}
	default:
		return "", fmt.Errorf("a service's address begins with https://: %w", ErrLink)
	}
	u.Host = strings.ToLower(u.Host)
	return strings.TrimRight(u.String(), "/"), nil
}
