package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zalando/go-keyring"

	"signet"
	"signet/core/key"
)

var org = signet.OrgID{1, 2, 3}

// withMock gives the test a keyring in memory.
func withMock(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	keyring.MockInit()
}

func create(t *testing.T, use Use) (string, *Keys) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(path, org, k, use); err != nil {
		t.Fatal(err)
	}
	return path, k
}

// same fails the test unless a and b sign and open alike.
func same(t *testing.T, a, b *Keys) {
	t.Helper()
	sig, err := a.Signer().Sign(key.LabelHello, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Signer().Public().Verify(key.LabelHello, []byte("x"), sig); err != nil {
		t.Error(err)
	}
	if a.Encryption() != b.Encryption() || a.Secret() != b.Secret() || a.Where() != b.Where() {
		t.Error("the keys differ")
	}
}

func TestKeysComeBackFromAFileAndFromAKeyring(t *testing.T) {
	withMock(t)
	for use, where := range map[Use]Where{Never: File, Must: Keyring} {
		path, k := create(t, use)
		got, err := Load(path, org)
		if err != nil {
			t.Fatal(err)
		}
		same(t, k, got)
		if got.Where() != where {
			t.Errorf("keys rest in %s, want %s", got.Where(), where)
		}
		b, _ := os.ReadFile(path)
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		s := k.signing.Seed()
		if bytes.Contains(b, s[:]) != (where == File) {
			t.Errorf("%s: seed in the clear: %v", where, where != File)
		}
	}
}

func TestCreateNeverReplacesKeys(t *testing.T) {
	path, k := create(t, Never)
	other, _ := Generate()
	if err := Create(path, org, other, Never); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create: %v", err)
	}
	got, err := Load(path, org)
	if err != nil {
		t.Fatal(err)
	}
	same(t, k, got)
}

func TestAutoFallsBackToAFileWhereTheKeyringFails(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	keyring.MockInitWithError(errors.New("broken"))
	_, k := create(t, Auto)
	if k.Where() != File {
		t.Errorf("keys rest in %s", k.Where())
	}
	k, _ = Generate()
	if err := Create(filepath.Join(t.TempDir(), "keys"), org, k, Must); !errors.Is(err, ErrKeyring) {
		t.Errorf("a keyring that must be there: %v", err)
	}
}

func TestKeyFileIsWorthlessWithoutItsKeyringEntry(t *testing.T) {
	withMock(t)
	path, _ := create(t, Must)
	withMock(t) // another keyring
	if _, err := Load(path, org); !errors.Is(err, ErrKeyring) {
		t.Errorf("without the entry: %v", err)
	}
	f := decodeFile(t, path)
	keyring.Set(keyringService, f.entry, "bm90IHRoZSByaWdodCBrZXksIG5vdCBhdCBhbGwhISE=")
	if _, err := Load(path, org); !errors.Is(err, ErrKeyring) {
		t.Errorf("with another secret: %v", err)
	}
}

func decodeFile(t *testing.T, path string) *file {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDamagedFileIsOneClearError(t *testing.T) {
	withMock(t)
	for _, use := range []Use{Never, Must} {
		path, _ := create(t, use)
		whole, _ := os.ReadFile(path)
		for i := 0; i <= len(whole); i++ {
			for _, b := range [][]byte{whole[:i], flip(whole, i)} {
				if bytes.Equal(b, whole) {
					continue
				}
				os.WriteFile(path, b, 0o600)
				_, err := Load(path, org)
				if !errors.Is(err, ErrCorrupt) && !(i == len(magic) && errors.Is(err, ErrNewer)) {
					t.Fatalf("byte %d: %v", i, err)
				}
			}
		}
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	if i < len(b) {
		b[i] ^= 0x40
	} else {
		b = append(b, 0)
	}
	return b
}

func TestNewerFormatIsRefusedAndLeftAlone(t *testing.T) {
	path, _ := create(t, Never)
	b, _ := os.ReadFile(path)
	b = append(b[:len(magic)], format+1, 'n', 'e', 'w')
	os.WriteFile(path, b, 0o600)
	if _, err := Load(path, org); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, b) {
		t.Error("the file was changed")
	}
}

func TestFileThatOthersMayReadIsRefused(t *testing.T) {
	path, _ := create(t, Never)
	for _, m := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		os.Chmod(path, m)
		if _, err := Load(path, org); !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), fmt.Sprintf("%04o", m)) {
			t.Errorf("mode %o: %v", m, err)
		}
	}
}

func TestFileOfAnotherOrganisationIsRefused(t *testing.T) {
	path, _ := create(t, Never)
	if _, err := Load(path, signet.OrgID{9}); !errors.Is(err, ErrOther) {
		t.Errorf("another organisation: %v", err)
	}
}

func TestDeleteForgetsFileAndEntry(t *testing.T) {
	withMock(t)
	path, _ := create(t, Must)
	entry := decodeFile(t, path).entry
	for range 2 { // the second finds nothing, which is fine
		if err := Delete(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keyring.Get(keyringService, entry); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the entry is still there: %v", err)
	}
	if _, err := Load(path, org); !errors.Is(err, ErrNoKeys) || !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("after Delete: %v", err)
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	k, _ := FromSeeds([32]byte{1, 2, 3}, [32]byte{4, 5, 6})
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(f, k); s != "keystore.Keys(…)" {
			t.Errorf("%s prints %s", f, s)
		}
	}
	if _, err := k.MarshalText(); err == nil {
		t.Error("keys marshal")
	}
}

func FuzzKeyFile(f *testing.F) {
	k, _ := FromSeeds([32]byte{1}, [32]byte{2})
	file1 := file{where: File}
	b, _ := file1.encode(k.payload(org), nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode(b)
		if err != nil || got.where != File {
			return
		}
		again, err := got.encode(got.body, nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Error(cmp.Diff(b, again))
		}
	})
}
