package cli

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"time"

	"signet"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/keystore"
	"signet/device/owner"
	"signet/transport"
)

// A member is this device as its organisation knows it, ready for work.
type member struct {
	account *account.Account
	keys    *keystore.Keys
	client  *transport.Client
	dir     account.Directory // verified and remembered
	seen    func(signet.DeviceID) (ms int64, ok bool)
}

// told gives the refusal of a device whose home is enrolled its likely cause:
// the service does not tell a stranger from a revoked device.
func told(err error) error {
	if !errors.Is(err, transport.ErrNotEnrolled) {
		return err
	}
	return &control.Fault{Kind: "revoked", Code: control.NotAllowed,
		Message: "the service does not take this device any more: it was revoked", Hint: "its files stay; to join again: signet logout, then signet login LINK with a new link"}
}

func memberOf(o *owner.Owner) *member {
	return &member{o.Account, o.Keys, o.Client, o.Engine, o.Engine.LastSeen}
}

// withMember runs something with the home's member.
type withMember func(do func(*member) (any, error)) (any, error)

// openMethods are the methods of a command's own process: the home is opened
// for each call, so that login finds none and logout leaves none open.
func openMethods(_ context.Context, d home.Dir) (control.Methods, io.Closer, error) {
	m := identityMethods(d, func(do func(*member) (any, error)) (any, error) {
		o, err := owner.Open(d, Version)
		if err != nil {
			return nil, err
		}
		defer o.Close()
		v, err := do(memberOf(o))
		return v, told(err)
	}, func(o signet.OrgID) error { return account.Forget(d, o) })
	maps.Copy(m, owner.Methods(func(do func(*owner.Work) (any, error)) (any, error) {
		o, err := owner.Open(d, Version)
		if err != nil {
			return nil, err
		}
		defer o.Close()
		if err := o.Engine.LoadVolumes(); err != nil {
			return nil, err
		}
		v, err := do(&owner.Work{Owner: o})
		return v, told(err)
	}))
	return m, nil, nil
}

// remember has a newly enrolled device keep the directory that it verified:
// from now on the service cannot go back behind it.
func remember(ctx context.Context, d home.Dir) error {
	o, err := owner.Open(d, Version)
	if err != nil {
		return err
	}
	defer o.Close()
	return o.Remember(ctx)
}

// options are those of an enrolment in a home.
func options(d home.Dir, name string) (account.Options, error) {
	use, err := keystore.ParseUse(os.Getenv("SIGNET_KEYRING"))
	if err != nil {
		return account.Options{}, control.Usagef("%v", err)
	}
	return account.Options{Home: d, Use: use, Now: time.Now, Name: name, Version: Version}, nil
}
