// Package account is how this device comes to belong to an organisation and
// what it remembers of that: it redeems invitations, links and is linked,
// recovers, and names, lists and revokes the devices of its own ring.
//
// It promises that keys and what was said about them are durable before the
// service hears of them, so that an enrolment interrupted anywhere goes on
// where it was; that a newcomer trusts the organisation, ring and log keys of
// its invitation and not the service's word; and that a home which was refused
// is as empty as before. It keeps no directory: whoever remembers one durably
// is given as a Directory.
//
// Source: spec/identity.md; PROTOCOL section 2.
package account

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/cli/home"
	"signet/device/keystore"
	"signet/internal/durable"
	"signet/transport"
)

// format is the number of the account file's format.
const format = 1

// An Account says to which service, ring and device an organisation's keys
// belong. It holds nothing secret.
type Account struct {
	Service     string      // URL
	Certificate signet.Hash // of the service; zero where public authorities vouch for it
	LogKeys     signet.Hash
	Org         signet.OrgID
	Ring        signet.RingID
	Device      signet.DeviceID
	Name        string // this device's, as its person called it
	Owner       bool   // this device made the organisation

	// While enrolling: what the service has not acknowledged yet, oldest
	// first, and the hash of the invitation that it comes from.
	pending []signet.Record
	invite  signet.Hash
}

// Pending reports whether the enrolment was interrupted.
func (a *Account) Pending() bool { return len(a.pending) > 0 }

// A problem is a failure that a person can do something about.
type problem struct {
	kind, text, hint string
	class            error
}

func (p *problem) Error() string     { return p.text }
func (p *problem) ErrorKind() string { return p.kind }
func (p *problem) ErrorHint() string { return p.hint }
func (p *problem) Unwrap() error     { return p.class }

const askAgain = "ask for a new invitation: signet-server invite NAME"

// What can go wrong beside the service and the formats.
var (
	ErrNotEnrolled error = &problem{"not_enrolled", "this device is not enrolled",
		"signet login LINK, with a link of `signet device add` on another device or of `signet-server invite`", signet.ErrNotAllowed}
	ErrEnrolled error = &problem{"already_enrolled", "this device belongs to the organisation already",
		"use another --home for another device, or signet logout first", nil}
	ErrPending error = &problem{"not_enrolled", "this device's enrolment was interrupted",
		"run signet login again with the same link", signet.ErrNotAllowed}
	ErrSeveral error = &problem{"several", "this device belongs to several organisations",
		"use a home for each", nil}
	ErrUsed error = &problem{"invitation_used", "the invitation was redeemed already",
		"ask for a new one; if you did not redeem it, say so: someone else has", signet.ErrNotAllowed}
	ErrExpired error = &problem{"expired", "the invitation has expired",
		askAgain, signet.ErrNotAllowed}
	ErrUnknown error = &problem{"invitation_unknown", "the service does not have this invitation",
		"it ran out long ago, or the service's data was put back or made anew; " + askAgain, signet.ErrNotAllowed}
	errRefused error = &problem{"not_allowed", "the service does not take the invitation",
		askAgain, signet.ErrNotAllowed}
	ErrNewer   error = &problem{"newer_format", "written by a newer Signet", "update Signet on this device", nil}
	ErrDamaged error = &problem{"account_file", "the account file is damaged",
		"put back an undamaged copy of the file", nil}
	ErrLogKeys error = &problem{"log_keys", "the service has other log keys than the invitation says",
		"this is not the service that you were invited to; do not go on", signet.ErrNotVerified}
	ErrCode error = &problem{"code_differs", "the codes on the two devices differ",
		"someone may have read the invitation; make a new one: signet device add", signet.ErrNotAllowed}
)

// stored is the account file.
type stored struct {
	Format       int           `json:"format"`
	Service      string        `json:"service"`
	Certificate  string        `json:"certificate,omitempty"`
	LogKeys      string        `json:"log_keys"`
	Organisation string        `json:"organisation"`
	Ring         string        `json:"ring"`
	Device       string        `json:"device"`
	Name         string        `json:"name"`
	Owner        bool          `json:"owner,omitempty"`
	Pending      []storedEntry `json:"pending,omitempty"`
	Invite       string        `json:"invite,omitempty"`
}

type storedEntry struct {
	Head []byte `json:"head"`
	Blob []byte `json:"blob"`
}

// save writes the account file, durably.
func (a *Account) save(d home.Dir) error {
	s := stored{Format: format, Service: a.Service, LogKeys: hex.EncodeToString(a.LogKeys[:]), Organisation: a.Org.String(),
		Ring: a.Ring.String(), Device: a.Device.String(), Name: a.Name, Owner: a.Owner}
	if a.Certificate != (signet.Hash{}) {
		s.Certificate = hex.EncodeToString(a.Certificate[:])
	}
	for _, r := range a.pending {
		s.Pending = append(s.Pending, storedEntry{r.Head, r.Blob})
	}
	if a.Pending() {
		s.Invite = hex.EncodeToString(a.invite[:])
	}
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("account: %w", err)
	}
	if err := durable.WriteFile(d.AccountFile(a.Org), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	return nil
}

// Load reads the account of an organisation; ErrNotEnrolled if there is none.
func Load(d home.Dir, o signet.OrgID) (*Account, error) {
	path := d.AccountFile(o)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	} else if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("account %s: %w", path, ErrDamaged)
	}
	if s.Format > format {
		return nil, fmt.Errorf("account %s: format %d: %w", path, s.Format, ErrNewer)
	}
	a := &Account{Service: s.Service, Name: s.Name, Owner: s.Owner}
	var errs [6]error
	a.Org, errs[0] = signet.ParseOrgID(s.Organisation)
	a.Ring, errs[1] = signet.ParseRingID(s.Ring)
	a.Device, errs[2] = signet.ParseDeviceID(s.Device)
	errs[3] = unhex(&a.LogKeys, s.LogKeys)
	if s.Certificate != "" {
		errs[4] = unhex(&a.Certificate, s.Certificate)
	}
	if len(s.Pending) > 0 {
		errs[5] = unhex(&a.invite, s.Invite)
	}
	if errors.Join(errs[:]...) != nil || s.Format != format || a.Org != o {
		return nil, fmt.Errorf("account %s: %w", path, ErrDamaged)
	}
	for _, e := range s.Pending {
		a.pending = append(a.pending, signet.Record{Head: e.Head, Blob: e.Blob})
	}
	return a, nil
}

func unhex(dst *signet.Hash, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) {
		return ErrDamaged
	}
	copy(dst[:], b)
	return nil
}

// Find reads the only account of a home.
func Find(d home.Dir) (*Account, error) {
	all, err := list(d)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, ErrNotEnrolled
	case len(all) > 1:
		return nil, ErrSeveral
	case all[0].Pending():
		return nil, ErrPending
	}
	return all[0], nil
}

func list(d home.Dir) ([]*Account, error) {
	orgs, err := d.Organisations()
	if err != nil {
		return nil, err
	}
	var all []*Account
	for _, o := range orgs {
		a, err := Load(d, o)
		if errors.Is(err, ErrNotEnrolled) {
			continue // a crash left a folder without an account
		} else if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// Forget removes the keys of an organisation from the home, then everything
// else that the home has of it. Folders that were kept in step stay.
func Forget(d home.Dir, o signet.OrgID) error {
	// The keys first: what is left after a crash opens nothing.
	err := keystore.Delete(d.KeyFile(o))
	return errors.Join(err, os.RemoveAll(d.Organisation(o)))
}

// conns is how many connections carry objects. A service takes no more large
// bodies at once from one device, and large files use all but one.
const conns = 8

// Options are what enrolling needs beside the invitation.
type Options struct {
	Home    home.Dir
	Use     keystore.Use
	Now     func() time.Time
	Name    string // of this device
	Version string // of this program
}

// Client makes the account's client of the service. keys may be nil for calls
// that need no device, and meter for a client that moves little.
func (a *Account) Client(keys *keystore.Keys, version string, meter transport.Meter) (*transport.Client, error) {
	c := transport.Config{URL: a.Service, Org: a.Org, UserAgent: "signet/" + version, Meter: meter, Conns: conns}
	if a.Certificate != (signet.Hash{}) {
		c.Pin = a.Certificate[:]
	}
	if keys != nil {
		c.Device, c.Signer = a.Device, keys.Signer()
	}
	return transport.NewClient(c)
}

// Self is this device as core/region wants it.
func (a *Account) Self(keys *keystore.Keys) region.Self {
	return region.Self{Org: a.Org, Ring: a.Ring, Device: a.Device, Signer: keys.Signer(), Opener: keys.Opener(), Label: a.Name}
}

// record is the public record of a lasting device with these keys, which it
// settles in the keyring or a file.
func record(k *keystore.Keys, use keystore.Use) (*ring.Device, error) {
	where, err := k.Settle(use)
	if err != nil {
		return nil, err
	}
	d := &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: k.Signer().Public(), Seal: k.Encryption()}
	if where == keystore.Keyring {
		d.Where = ring.InKeyring
	}
	return d, nil
}
