// Package keystore is where a device's private keys rest: one file for each
// organisation that the device belongs to.
//
// It promises that keys are on the disk, whole, before Create returns, that
// the file is readable by its owner alone, and, where the operating system has
// a keyring, that the file without the keyring opens nothing. It does not
// promise that a program that runs as the same user cannot read the keys, nor
// anything against who owns the system.
//
// Format (all numbers as in spec/encoding.md): "signet keys\n", format (1
// byte), where (1 byte), keyring entry (vector, 1-byte length), salt (32
// bytes), body (vector, 2-byte length), SHA-256 of all before it. The body is
// organisation, signing seed, encryption seed, device secret (32 bytes each),
// sealed by AES-256-GCM under a key that HKDF makes from the keyring's secret
// and the salt, with what precedes it as additional data; without a keyring it
// is those bytes as they are.
package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"signet"
	"signet/core/key"
	"signet/core/seal"
	"signet/internal/durable"
)

// Where says where private keys rest. It is a claim: the device says it of
// itself.
type Where uint8

// The places. Hardware is kept for keys that cannot be read at all.
const (
	File     Where = 1
	Keyring  Where = 2
	Hardware Where = 3
)

func (w Where) String() string {
	switch w {
	case File:
		return "file"
	case Keyring:
		return "keyring"
	case Hardware:
		return "hardware"
	}
	return "unknown"
}

// A problem is a failure that a person can do something about.
type problem struct {
	kind, text, hint string
	class            error
}

func (p *problem) Error() string { return p.text }

// ErrorKind is the stable name of the failure.
func (p *problem) ErrorKind() string { return p.kind }

// ErrorHint says what to do about it.
func (p *problem) ErrorHint() string { return p.hint }

// Unwrap is the class of the failure: a sentinel of package signet, or nil.
func (p *problem) Unwrap() error { return p.class }

// What can go wrong. Errors of this package wrap one of them, or one of
// package fs.
var (
	ErrNoKeys error = &problem{"not_enrolled", "no keys of this organisation here",
		"enrol this device: signet login", signet.ErrNotAllowed}
	ErrCorrupt error = &problem{"key_file", "the key file is damaged",
		"put back an undamaged copy of the file, or enrol this device again: signet login", nil}
	ErrNewer error = &problem{"newer_format", "the key file was made by a newer Signet",
		"update Signet on this device", nil}
	ErrExposed error = &problem{"key_file_mode", "others may read the key file",
		"chmod 600 on it; if others had access to this machine, revoke this device and enrol it again", nil}
	ErrKeyring error = &problem{"keyring", "the keyring does not give the key that opens the key file",
		"log in on this machine's desktop so that its keyring is unlocked, and try again", nil}
	ErrOther error = &problem{"key_file", "the key file belongs to another organisation",
		"put back the right file, or enrol this device again: signet login", nil}
)

// Keys are the private keys of one device in one organisation. They neither
// print nor marshal.
type Keys struct {
	_       [0]func()
	signing *key.Private
	opening *seal.PrivateKey
	secret  [32]byte
	where   Where

	entry    string // in the keyring, with the key that wraps the file
	wrapping []byte
}

// Generate makes new keys, in memory only.
func Generate() (*Keys, error) {
	var s, e [32]byte
	rand.Read(s[:])
	rand.Read(e[:])
	return FromSeeds(s, e)
}

// FromSeeds makes keys from given seeds (a recovery kit's), in memory only,
// with a new device secret.
func FromSeeds(signing, encryption [key.SeedSize]byte) (*Keys, error) {
	k := &Keys{}
	var err error
	if k.signing, err = key.FromSeed(signing); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if k.opening, err = seal.FromSeed(encryption); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	rand.Read(k.secret[:])
	return k, nil
}

// Signer signs as this device.
func (k *Keys) Signer() key.Signer { return k.signing }

// Opener opens what was sealed to this device.
func (k *Keys) Opener() seal.Opener { return k.opening }

// Encryption is what others seal to.
func (k *Keys) Encryption() key.Encryption { return k.opening.Public() }

// Secret is a random value of this device alone, for what only this device
// ever opens or derives. It does not come from a ring and no ring changes it.
func (k *Keys) Secret() [32]byte { return k.secret }

// Where says where the keys rest; 0 before Settle or Create.
func (k *Keys) Where() Where { return k.where }

// String and GoString keep keys out of messages.
func (k *Keys) String() string   { return "keystore.Keys(…)" }
func (k *Keys) GoString() string { return "keystore.Keys(…)" }

// MarshalText refuses.
func (k *Keys) MarshalText() ([]byte, error) {
	return nil, errors.New("private keys are not marshalled")
}

// A Use says what Create does about the keyring.
type Use uint8

// The uses.
const (
	Auto  Use = iota // the keyring where there is one that answers, else a file alone
	Never            // a file alone
	Must             // the keyring, else an error
)

// ParseUse reads the value of SIGNET_KEYRING: "", "auto", "off" or "on".
func ParseUse(s string) (Use, error) {
	switch s {
	case "", "auto":
		return Auto, nil
	case "off":
		return Never, nil
	case "on":
		return Must, nil
	}
	return Auto, fmt.Errorf("SIGNET_KEYRING is %q, want auto, on or off", s)
}

// Settle decides where k will rest and says it, before there is a file: a
// device's record claims it. Create keeps to it. The keyring gets its entry
// now; Discard takes it back.
func (k *Keys) Settle(use Use) (Where, error) {
	if k.where != 0 {
		return k.where, nil
	}
	where := File
	if use == Must || use == Auto && keyringLikely() {
		var err error
		if k.entry, k.wrapping, err = newEntry(); err == nil {
			where = Keyring
		} else if use == Must {
			return 0, fmt.Errorf("keys: %w", err)
		}
	}
	k.where = where
	return where, nil
}

// Discard forgets what Settle put into the keyring, for keys that get no file.
func (k *Keys) Discard() {
	if k.entry != "" {
		removeEntry(k.entry)
	}
	k.entry, k.wrapping, k.where = "", nil, 0
}

// Create writes k to path for organisation o. It never replaces a file: one
// that is there is fs.ErrExist. Callers hold the home's lock. A crash leaves
// no file, or the whole file; it may leave an unused keyring entry.
func Create(path string, o signet.OrgID, k *Keys, use Use) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("key file %s: %w", path, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("key file: %w", err)
	}
	if _, err := k.Settle(use); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	f := file{where: k.where, entry: k.entry}
	rand.Read(f.salt[:])
	b, err := f.encode(k.payload(o), k.wrapping)
	if err == nil {
		err = durable.WriteFile(path, b, 0o600)
	}
	if err != nil {
		os.Remove(path) // written, and not known to be durable
		k.Discard()
		return fmt.Errorf("key file: %w", err)
	}
	return nil
}

// Load reads the keys of organisation o from path.
func Load(path string, o signet.OrgID) (*Keys, error) {
	b, err := read(path)
	if err != nil {
		return nil, err
	}
	f, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	var wrapping []byte
	if f.where == Keyring {
		if wrapping, err = entrySecret(f.entry); err != nil {
			return nil, fmt.Errorf("key file %s: %w", path, err)
		}
	}
	payload, err := f.open(wrapping)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	if !bytes.Equal(payload[:32], o[:]) {
		return nil, fmt.Errorf("key file %s: %w", path, ErrOther)
	}
	k, err := FromSeeds([32]byte(payload[32:64]), [32]byte(payload[64:96]))
	if err != nil {
		return nil, err
	}
	k.secret, k.where = [32]byte(payload[96:128]), f.where
	return k, nil
}

// Delete forgets the keys at path: the file, then its keyring entry. A file
// that is not there is no error. Where the entry cannot be removed the file,
// which it is useless without, is gone all the same.
func Delete(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if err := durable.Remove(path); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if f, err := decode(b); err == nil && f.where == Keyring {
		return removeEntry(f.entry)
	}
	return nil
}

// read returns the file's bytes if only its owner may read it.
func read(path string) ([]byte, error) {
	r, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key file %s: %w", path, ErrNoKeys)
	} else if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("key file %s: %w", path, ErrCorrupt)
	}
	if exposed(info.Mode()) {
		return nil, fmt.Errorf("key file %s: mode %04o: %w", path, info.Mode().Perm(), ErrExposed)
	}
	b := make([]byte, info.Size())
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("key file %s: %w", filepath.Base(path), err)
	}
	return b, nil
}

func (k *Keys) payload(o signet.OrgID) []byte {
	s, e := k.signing.Seed(), k.opening.Seed()
	return bytes.Join([][]byte{o[:], s[:], e[:], k.secret[:]}, nil)
}

// entryName draws the name of a keyring entry: it tells nothing of the
// organisation or the home.
func entryName() string {
	var b [16]byte
	rand.Read(b[:])
	return "keys-" + hex.EncodeToString(b[:])
}
