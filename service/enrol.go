package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/ring"
	"signet/service/meta"
	"signet/transport"
)

// Settings that the program's other commands share with a running service.
const (
	settingBootstrap = "bootstrap" // hash of the secret that makes the organisation; gone once used
	settingConnector = "connector" // "allowed" while the root allows the built-in connector
	settingAddress   = "address"   // URL that invitations point at
	settingPin       = "pin"       // SHA-256 of a self-made certificate
)

// Enrol implements transport.Backend.
func (s *Service) Enrol(ctx context.Context, r signet.Record, sent int64) (signet.Receipt, error) {
	s.mu.RLock()
	log := signet.LogID{Kind: signet.DirectoryLog}
	if s.directory != nil {
		log = s.directory.ID
	}
	s.mu.RUnlock()
	receipt, err := s.offer(ctx, &offer{log: log, record: r, sent: sent, enrol: true})
	if errors.Is(err, ring.ErrExpired) {
		err = transport.Errorf(transport.KindExpired, "the invitation ran out")
	}
	return receipt, err
}

// checkRoot refuses a root statement that is not by whoever redeems the newest
// bootstrap secret, or that names another key for checkpoints.
func (s *Service) checkRoot(st *ring.Statement) error {
	if s.directory != nil {
		return transport.Errorf(transport.KindConflict, "this service has its organisation already").
			WithHint("ask its owner for an invitation")
	}
	want, err := s.db.Setting(settingBootstrap)
	switch {
	case errors.Is(err, signet.ErrNotFound), err == nil && string(want) != string(st.Bootstrap[:]):
		return transport.Errorf(transport.KindNotAllowed, "this invitation is not the newest one").
			WithHint("a new `signet-server invite` replaces those before it")
	case err != nil:
		return err
	}
	if !st.LogKey.Equal(s.config.Key.Public()) {
		return transport.Errorf(transport.KindInvalid, "root statement names another log key")
	}
	return nil
}

// An Inviter makes invitations beside a running service: it shares the
// database and nothing else.
type Inviter struct {
	Data      string
	LogKey    *key.Public
	Connector key.Signer // the built-in connector
	Device    *ring.Device
	Clock     func() time.Time
}

// InvitationTime is how long an invitation by the built-in connector is good.
const InvitationTime = 7 * 24 * time.Hour

// afterlife is how long an invitation that ran out is kept, so that who comes
// too late is told so by what its issuer signed.
const afterlife = 90 * 24 * time.Hour

// An Invited is a new invitation.
type Invited struct {
	URL       string
	Bootstrap bool // it makes the organisation
	Replaced  bool // and takes the place of an earlier one that was not redeemed
}

// Errors of Invite that have a remedy.
var (
	ErrNoAddress    = errors.New("the service has not run yet, so its address is unknown")
	ErrNoConnector  = fmt.Errorf("the organisation does not allow its built-in connector: %w", signet.ErrNotAllowed)
	errLabelTooLong = errors.New("name is longer than 255 bytes")
)

// Invite makes an enrolment URL for somebody. The first one makes its redeemer
// the owner of a new organisation; while that was not redeemed, each further
// one takes its place.
func (v *Inviter) Invite(name string) (Invited, error) {
	if len(name) > 255 {
		return Invited{}, errLabelTooLong
	}
	db, err := meta.Open(filepath.Join(v.Data, databaseName))
	if err != nil {
		return Invited{}, err
	}
	defer db.Close()
	address, err := db.Setting(settingAddress)
	if errors.Is(err, signet.ErrNotFound) {
		return Invited{}, ErrNoAddress
	}
	if err != nil {
		return Invited{}, err
	}
	pin, err := db.Setting(settingPin)
	if err != nil && !errors.Is(err, signet.ErrNotFound) {
		return Invited{}, err
	}
	i := &ring.Invite{URL: string(address), LogKeys: chain.KeysHash(v.LogKey), Pin: pin, Label: name}
	rand.Read(i.Secret[:])
	rand.Read(i.Salt[:])
	logs, err := db.Logs()
	if err != nil {
		return Invited{}, err
	}
	for _, l := range logs {
		if l.ID.Kind == signet.DirectoryLog {
			i.Org = l.ID.ID
			return Invited{URL: i.String()}, v.member(db, i)
		}
	}
	_, err = db.Setting(settingBootstrap)
	out := Invited{URL: i.String(), Bootstrap: true, Replaced: err == nil}
	hash := ring.BootstrapHash(i.Secret)
	return out, db.Update(func(tx *meta.Tx) error { return tx.Set(settingBootstrap, hash[:]) })
}

// member signs an invitation by the connector and leaves it for its redeemer.
func (v *Inviter) member(db *meta.DB, i *ring.Invite) error {
	if state, err := db.Setting(settingConnector); errors.Is(err, signet.ErrNotFound) || err == nil && string(state) != "allowed" {
		return ErrNoConnector
	} else if err != nil {
		return err
	}
	once, err := key.FromSeed(i.Secret)
	if err != nil {
		return err
	}
	now := v.Clock()
	inv := &ring.Invitation{
		Org: i.Org, Claim: ring.ClaimOf(once.Public()), Role: ring.RoleMember, Label: ring.LabelHash(i.Salt, i.Label),
		Expiry: now.Add(InvitationTime).UnixMilli(), Issuer: v.Device.ID(),
	}
	if err := inv.Sign(v.Connector); err != nil {
		return err
	}
	return db.Update(func(tx *meta.Tx) error {
		return tx.Invite(inv.Claim, inv.Bytes(), inv.Expiry, now.Add(-afterlife).UnixMilli())
	})
}

// SetAddress stores where the service is reached, for Invite. pin is the
// SHA-256 of a certificate that no authority vouches for, or empty.
func (s *Service) SetAddress(url string, pin []byte) error {
	return s.db.Update(func(tx *meta.Tx) error {
		if err := tx.Set(settingAddress, []byte(url)); err != nil {
			return err
		}
		return tx.Set(settingPin, pin)
	})
}
