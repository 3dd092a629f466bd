package account

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/zalando/go-keyring"

	"signet"
	"signet/device/cli/home"
	"signet/device/keystore"
)

func TestKeysThatGetNoFileLeaveNothing(t *testing.T) {
	keyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	org := signet.OrgID{1}
	for name, c := range map[string]struct {
		spoil func(d home.Dir) error
		stays []string
	}{
		"no folder": {func(d home.Dir) error {
			return errors.Join(os.MkdirAll(filepath.Dir(d.Organisation(org)), 0o700), os.WriteFile(d.Organisation(org), nil, 0o600))
		}, nil},
		"no account file": {func(d home.Dir) error { return os.MkdirAll(filepath.Join(d.AccountFile(org), "x"), 0o700) }, []string{"account.json"}},
		"other keys": {func(d home.Dir) error {
			return errors.Join(d.MakeOrganisation(org), os.WriteFile(d.KeyFile(org), []byte("keys"), 0o600))
		}, []string{"keys"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Home: home.Dir(t.TempDir()), Use: keystore.Must}
			if err := c.spoil(o.Home); err != nil {
				t.Fatal(err)
			}
			keys, err := keystore.Generate()
			if err != nil {
				t.Fatal(err)
			}
			if where, err := keys.Settle(o.Use); err != nil || where != keystore.Keyring {
				t.Fatal(where, err)
			}
			if err := create(o, &Account{Org: org}, keys); err == nil {
				t.Fatal("made")
			}
			if keys.Where() != 0 {
				t.Errorf("an entry stays in the %s", keys.Where())
			}
			entries, err := os.ReadDir(o.Home.Organisation(org))
			var left []string
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if len(left) != len(c.stays) || len(left) > 0 && left[0] != c.stays[0] {
				t.Errorf("%q stays, %v", left, err)
			}
		})
	}
	o := Options{Home: home.Dir(t.TempDir()), Use: keystore.Must}
	keys, err := keystore.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if err := create(o, &Account{Org: org}, keys); err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.Load(o.Home.KeyFile(org), org); err != nil {
		t.Error(err)
	}
	if err := Forget(o.Home, org); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(o.Home.Organisation(org)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
