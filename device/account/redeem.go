package account

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/keystore"
	"signet/transport"
)

// A Joined is a device that has just been enrolled.
type Joined struct {
	Account   *Account
	Keys      *keystore.Keys
	Client    *transport.Client // the caller closes it
	Directory Directory         // verified from its first leaf to now
}

// Redeem enrols this device by an invitation: the first one makes the
// organisation, each later one a member's ring. Where it was interrupted
// before, the same invitation goes on.
func Redeem(ctx context.Context, o Options, i *ring.Invite) (*Joined, error) {
	id := key.Sum(key.LabelInvite, []byte(i.String()))
	all, err := list(o.Home)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		switch {
		case a.Pending() && a.invite == id:
			keys, err := keystore.Load(o.Home.KeyFile(a.Org), a.Org)
			if err == nil {
				return complete(ctx, o, a, keys)
			}
			// Without keys nothing was sent: create writes them last.
			if !errors.Is(err, keystore.ErrNoKeys) {
				return nil, err
			}
			if err := Forget(o.Home, a.Org); err != nil {
				return nil, err
			}
		case a.Org == i.Org:
			return nil, ErrEnrolled
		}
	}
	a := &Account{Service: i.URL, LogKeys: i.LogKeys, Org: i.Org, Name: o.Name, invite: id}
	copy(a.Certificate[:], i.Pin)
	keys, err := keystore.Generate()
	if err != nil {
		return nil, err
	}
	if err := a.prepare(ctx, o, i, keys); err != nil {
		keys.Discard()
		return nil, err
	}
	if err := create(o, a, keys); err != nil {
		return nil, err
	}
	return complete(ctx, o, a, keys)
}

// prepare asks the service what it is, and makes the statements of the
// enrolment.
func (a *Account) prepare(ctx context.Context, o Options, i *ring.Invite, keys *keystore.Keys) error {
	client, err := a.Client(nil, o.Version, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	info, err := client.Info(ctx)
	if err != nil {
		return err
	}
	logKey, err := key.ParsePublic(info.LogKey)
	if err != nil || chain.KeysHash(logKey) != i.LogKeys {
		return ErrLogKeys
	}
	self, err := record(keys, o.Use)
	if err != nil {
		return err
	}
	founder := region.Founder{Device: self, Signer: keys.Signer()}
	a.Device = founder.Device.ID()
	if i.Org == (signet.OrgID{}) {
		return a.prepareOwner(i, info, logKey, founder)
	}
	once, err := key.FromSeed(i.Secret)
	if err != nil {
		return err
	}
	claim := ring.ClaimOf(once.Public())
	// The link is too short for the invitation itself; it lies where the
	// link's key says.
	raw, err := client.Invitation(ctx, claim)
	if errors.Is(err, signet.ErrNotFound) {
		return fmt.Errorf("login: %w", ErrUnknown)
	} else if err != nil {
		return err
	}
	invitation, err := ring.ParseInvitation(raw)
	if err != nil || invitation.Claim != claim || invitation.Org != i.Org {
		return fmt.Errorf("invitation: not the one of the link: %w", signet.ErrNotVerified)
	}
	if now := o.Now().UnixMilli(); invitation.Expiry <= now {
		return fmt.Errorf("login: it was good until %s: %w", time.UnixMilli(invitation.Expiry).UTC().Format(time.RFC3339), ErrExpired)
	}
	rec, ringID, err := founder.Genesis(i.Org, invitation, once)
	if err != nil {
		return err
	}
	a.Ring, a.pending = ringID, []signet.Record{rec}
	return nil
}

func (a *Account) prepareOwner(i *ring.Invite, info transport.Info, logKey *key.Public, founder region.Founder) error {
	if !info.Fresh {
		return fmt.Errorf("organisation %s: %w", info.Org, ErrUsed)
	}
	root, org, err := founder.Root(logKey, i.Secret)
	if err != nil {
		return err
	}
	genesis, ringID, err := founder.Genesis(org, nil, nil)
	if err != nil {
		return err
	}
	a.Org, a.Ring, a.Owner, a.pending = org, ringID, true, []signet.Record{root, genesis}
	return nil
}

// create puts account and keys on the disk before anybody hears of them. The
// keys come last: an account that waits and has none has sent nothing. Where it
// fails nothing is left of either, in the keyring neither; a key file that was
// there before, which these keys do not belong to, stays.
func create(o Options, a *Account, keys *keystore.Keys) error {
	err := o.Home.MakeOrganisation(a.Org)
	if err == nil {
		err = a.save(o.Home)
	}
	if err == nil {
		err = keystore.Create(o.Home.KeyFile(a.Org), a.Org, keys, o.Use)
	}
	if err != nil {
		keys.Discard()
		os.Remove(o.Home.AccountFile(a.Org))
		os.Remove(o.Home.Organisation(a.Org)) // if it is empty
	}
	return err
}

// complete sends what the service has not acknowledged, then reads the directory
// and checks that this device is where it should be. A refusal that will not
// change leaves nothing in the home.
func complete(ctx context.Context, o Options, a *Account, keys *keystore.Keys) (*Joined, error) {
	client, err := a.Client(nil, o.Version, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for n, r := range a.pending {
		_, err := client.Enrol(ctx, r, o.Now().UnixMilli())
		switch {
		case errors.Is(err, signet.ErrConflict) || errors.Is(err, signet.ErrNotAllowed):
			// Somebody else was first, or it ran out. The first statement
			// alone decides: after it the rest is nobody else's.
			if n == 0 {
				return nil, errors.Join(refused(err), Forget(o.Home, a.Org))
			}
			return nil, err
		case err != nil:
			return nil, err
		}
	}
	// Enrol's receipts are not looked at: the directory itself, read from its
	// first leaf, shows more.
	j, err := join(ctx, o, a, keys)
	if err != nil {
		return nil, err
	}
	a.pending = nil
	if err := a.save(o.Home); err != nil {
		j.Client.Close()
		return nil, err
	}
	return j, nil
}

// refused is a refusal in words for who redeems: of two that race one wins.
func refused(err error) error {
	var e *transport.Error
	why := errRefused
	switch {
	case errors.As(err, &e) && e.Hint != "":
		return err
	case e != nil && e.Kind == transport.KindExpired:
		why = ErrExpired
	case errors.Is(err, signet.ErrConflict):
		why = ErrUsed
	}
	return fmt.Errorf("%v: %w", err, why)
}

// join reads and verifies the directory as the enrolled device.
func join(ctx context.Context, o Options, a *Account, keys *keystore.Keys) (*Joined, error) {
	client, err := a.Client(keys, o.Version, nil)
	if err != nil {
		return nil, err
	}
	dir := newFresh(a.Self(keys), client, a.LogKeys, o.Now)
	if err := dir.SyncDirectory(ctx); err != nil {
		client.Close()
		return nil, err
	}
	if !dir.state.ActiveAt(a.Ring, a.Device, dir.tree.Size()) {
		client.Close()
		return nil, fmt.Errorf("directory: it does not have this device in its ring: %w", signet.ErrNotVerified)
	}
	return &Joined{a, keys, client, dir}, nil
}

// Connector asks the service for the record of its built-in connector; nil if
// it has none.
func (j *Joined) Connector(ctx context.Context) (*ring.Device, error) {
	all, err := j.Client.Records(ctx, [32]byte{})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	d, err := ring.ParseDevice(all[0])
	if err != nil || d.Class != ring.Connector {
		return nil, fmt.Errorf("the service's connector is none: %w", signet.ErrNotVerified)
	}
	return d, nil
}

// AllowConnector lets a connector admit members, and nothing else.
func (j *Joined) AllowConnector(ctx context.Context, c *ring.Device) error {
	self := j.Account.Self(j.Keys)
	return j.Directory.AppendStatement(ctx, func(s *ring.State, _ *region.Keys) (signet.Record, error) {
		return self.AllowConnector(s, c)
	})
}
