package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"
)

// keyringService is the name that keyrings show beside an entry.
const keyringService = "signet"

// keyringPatience bounds a call: a keyring that is locked where nobody sees
// its prompt would wait for ever.
const keyringPatience = 30 * time.Second

// keyringLikely reports whether asking the keyring makes sense. Without a
// session bus the Linux library would start one of its own, and a keyring in
// it would be gone with it; root's services have no session.
func keyringLikely() bool {
	switch runtime.GOOS {
	case "darwin", "windows":
		return true
	case "linux", "freebsd", "openbsd", "netbsd":
		return os.Getuid() != 0 && sessionBus()
	}
	return false
}

func sessionBus() bool {
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" && a != "autolaunch:" {
		return true
	}
	_, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid()))
	return err == nil
}

// newEntry puts a new wrapping key into the keyring and reads it back: an
// entry that cannot be read is worse than none.
func newEntry() (entry string, wrapping []byte, err error) {
	if runtime.GOOS == "linux" && !sessionBus() {
		return "", nil, fmt.Errorf("no session bus: %w", ErrKeyring)
	}
	entry, wrapping = entryName(), make([]byte, 32)
	rand.Read(wrapping)
	err = patiently(func() error {
		return keyring.Set(keyringService, entry, base64.StdEncoding.EncodeToString(wrapping))
	})
	if err != nil {
		return "", nil, err
	}
	got, err := entrySecret(entry)
	if err == nil && !bytes.Equal(got, wrapping) {
		err = fmt.Errorf("it gave back another secret: %w", ErrKeyring)
	}
	if err != nil {
		removeEntry(entry)
		return "", nil, err
	}
	return entry, wrapping, nil
}

// entrySecret reads a wrapping key.
func entrySecret(entry string) ([]byte, error) {
	if runtime.GOOS == "linux" && !sessionBus() {
		return nil, fmt.Errorf("no session bus: %w", ErrKeyring)
	}
	var text string
	err := patiently(func() (err error) {
		text, err = keyring.Get(keyringService, entry)
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != 32 {
		return nil, fmt.Errorf("its entry is malformed: %w", ErrKeyring)
	}
	return b, nil
}

// removeEntry forgets a wrapping key.
func removeEntry(entry string) error {
	err := patiently(func() error { return keyring.Delete(keyringService, entry) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return err
}

// patiently calls f, which cannot be stopped, and gives up on it in the end.
func patiently(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(keyringPatience)
	defer t.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrKeyring, err)
		}
		return nil
	case <-t.C:
		return fmt.Errorf("it did not answer within %s: %w", keyringPatience, ErrKeyring)
	}
}
