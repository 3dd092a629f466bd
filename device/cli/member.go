package cli

import (
	"context"
	"io"
	"os"
	"time"

	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/keystore"
	"signet/transport"
)

// A member is this device as its organisation knows it, ready for work.
type member struct {
	account *account.Account
	keys    *keystore.Keys
	client  *transport.Client
	dir     account.Directory
}

// openMember opens the account of a home. It asks the service nothing yet.
func openMember(d home.Dir) (*member, error) {
	a, err := account.Find(d)
	if err != nil {
		return nil, err
	}
	keys, err := keystore.Load(d.KeyFile(a.Org), a.Org)
	if err != nil {
		return nil, err
	}
	client, err := a.Client(keys, Version)
	if err != nil {
		return nil, err
	}
	return &member{a, keys, client, account.Read(a, a.Self(keys), client, time.Now)}, nil
}

func (m *member) Close() error {
	m.client.Close()
	return nil
}

// openMethods are the methods of a command's own process.
func openMethods(_ context.Context, d home.Dir) (control.Methods, io.Closer, error) {
	return identityMethods(d, func(do func(*member) (any, error)) (any, error) {
		m, err := openMember(d)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		return do(m)
	}), nil, nil
}

// withMember runs something with the home's member.
type withMember func(do func(*member) (any, error)) (any, error)

// options are those of an enrolment in a home.
func options(d home.Dir, name string, ui control.UI) (account.Options, error) {
	use, err := keystore.ParseUse(os.Getenv("SIGNET_KEYRING"))
	if err != nil {
		return account.Options{}, control.Usagef("%v", err)
	}
	return account.Options{Home: d, Use: use, Now: time.Now, Name: name, Version: Version, Note: ui.Note}, nil
}
