package cli

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"signet/core/key"
	"signet/core/ring"
	"signet/internal/durable"
	"signet/internal/filelock"
	"signet/service"
)

// What lies in a data folder besides the database, the packs and a self-made
// certificate.
const (
	fileLock      = "lock"
	fileLogKey    = "log-key"
	fileConnector = "connector.key"
)

// errHeld says that another process serves the data folder.
var errHeld = errors.New("in use by another signet-server")

// hold takes the data folder for this process, until it ends or release is
// called.
func hold(dir string) (release func(), err error) {
	if release, err = holdAny(dir); err != nil {
		return nil, err
	}
	if err := finished(dir); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// finished refuses data whose restoring was cut off.
func finished(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, service.RestoreMarker)); err == nil {
		return &failure{err: fmt.Errorf("the restoring of %s was cut off", dir), hint: "run signet-server restore again, with the same --from and --data", kind: "unfinished"}
	}
	return nil
}

// holdAny is hold of a folder that need not be whole.
func holdAny(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, fileLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = filelock.Exclusive(f)
	for try := 0; errors.Is(err, filelock.ErrHeld) && try < 5; try++ {
		// status looks whether the lock is free by taking it for an instant.
		time.Sleep(20 * time.Millisecond)
		err = filelock.Exclusive(f)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, filelock.ErrHeld) {
			err = errHeld
		}
		err = fmt.Errorf("data folder %s: %w", dir, err)
		if errors.Is(err, errHeld) {
			return nil, hinted(err, "end the other one first, or give this one a folder of its own")
		}
		return nil, err
	}
	return func() { f.Close() }, nil
}

// makeData makes a data folder that only its owner may read.
func makeData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("data folder %s: not a folder", dir)
	}
	return nil
}

// needData fails where there is no service's data.
func needData(dir string) error {
	if err := finished(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, fileLogKey)); errors.Is(err, fs.ErrNotExist) {
		return hinted(fmt.Errorf("no service's data in %s", dir), "signet-server serve --data DIR makes them")
	} else if err != nil {
		return err
	}
	return nil
}

// keyFormat begins a key file; the number is the format's.
const keyFormat = "signet-server key 1\n"

// signingKey reads a key file; with make it makes one where there is none.
func signingKey(path string, make bool) (*key.Private, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && make {
		var seed [key.SeedSize]byte
		rand.Read(seed[:])
		b = []byte(keyFormat + base64.StdEncoding.EncodeToString(seed[:]) + "\n")
		err = durable.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, hinted(fmt.Errorf("%s: mode %04o lets others read a private key", path, info.Mode().Perm()), "chmod 600 "+path)
	}
	text, ok := strings.CutPrefix(string(b), keyFormat)
	if !ok {
		if strings.HasPrefix(string(b), "signet-server key ") {
			return nil, fmt.Errorf("%s: %w", path, errNewer)
		}
		return nil, fmt.Errorf("%s: not a key file", path)
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(seed) != key.SeedSize {
		return nil, hinted(fmt.Errorf("%s: key file is damaged", path), "restore it from a backup: devices accept no other key")
	}
	return key.FromSeed([key.SeedSize]byte(seed))
}

// connectorKey reads the built-in connector's key and public record.
func connectorKey(dir string, make bool) (*key.Private, *ring.Device, error) {
	k, err := signingKey(filepath.Join(dir, fileConnector), make)
	if err != nil {
		return nil, nil, err
	}
	return k, &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: k.Public()}, nil
}
