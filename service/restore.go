package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"signet"
	"signet/internal/durable"
	"signet/service/blob"
)

// RestoreMarker is a file in data whose restoring was cut off: they are not to be
// served.
const RestoreMarker = "restore-unfinished"

// A Restored says what Restore brought back.
type Restored struct {
	Time  time.Time `json:"time"` // of the backup
	Logs  int       `json:"logs"`
	Bytes int64     `json:"bytes"` // of packs
	Open  bool      `json:"open"`  // waits for nobody
}

// CanRestore looks whether a folder may take a restored service: one that is not
// there or empty, or in which a restoring was cut off. ours are names of files
// that do not count.
func CanRestore(data string, ours ...string) error {
	names, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(data, RestoreMarker)); err == nil {
		return nil
	}
	for _, n := range names {
		if !isOurs(n.Name(), append(ours, RestoreMarker)) {
			return ErrNotEmpty
		}
	}
	return nil
}

// Restore brings a backup back to a folder that CanRestore allows and that its
// caller holds. The service then takes nothing but re-offers, unless open is set.
// Until it is through, RestoreMarker lies there: after a crash it is begun again.
func Restore(ctx context.Context, from, data string, open bool, now time.Time) (Restored, error) {
	b, err := findBackup(from)
	if err != nil {
		return Restored{}, err
	}
	out := Restored{Time: b.Time, Open: open}
	if err := durable.WriteFile(filepath.Join(data, RestoreMarker), []byte("signet-server restore was cut off: run it again\n"), 0o600); err != nil {
		return out, err
	}
	for _, m := range b.Packs {
		n, err := blob.Copy(ctx, from, data, m, 0)
		if errors.Is(err, signet.ErrNotFound) {
			err = fmt.Errorf("%w: %w", err, ErrBackupDamaged)
		}
		if err != nil {
			return out, err
		}
		out.Bytes += n
	}
	for _, name := range b.Files {
		raw, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s is missing: %w", name, ErrBackupDamaged)
		}
		if err == nil {
			err = durable.WriteFile(filepath.Join(data, name), raw, 0o600)
		}
		if err != nil {
			return out, err
		}
	}
	db := filepath.Join(data, databaseName)
	for _, stale := range []string{db + "-wal", db + "-shm"} { // of a run that was cut off
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
	}
	if err := copyFile(ctx, filepath.Join(from, b.Database), db); err != nil {
		return out, err
	}
	if sum, err := hashFile(db); err != nil {
		return out, err
	} else if sum != b.SHA256 {
		return out, fmt.Errorf("%s has other bytes than were written: %w", b.Database, ErrBackupDamaged)
	}
	if out.Logs, err = MarkRestored(data, now); err != nil {
		return out, err
	}
	if open {
		if err := OpenRestored(data); err != nil {
			return out, err
		}
	}
	sweepTemporary(data, append(b.Files, RestoreMarker))
	return out, durable.Remove(filepath.Join(data, RestoreMarker))
}

// HasBackup fails where there is no backup in a folder that could be restored.
func HasBackup(from string) error {
	_, err := findBackup(from)
	return err
}

// findBackup reads what backup lies in a folder.
func findBackup(from string) (*backup, error) {
	b, err := readBackup(filepath.Join(from, backupFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(from, backupProgress)); err == nil {
			return nil, ErrBackupUnfinished
		}
		return nil, ErrNoBackup
	}
	return b, err
}

func copyFile(ctx context.Context, from, to string) error {
	src, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: %w", filepath.Base(from), ErrBackupDamaged)
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(dst, src); err == nil {
		err = durable.SyncFile(dst)
	}
	if err = errors.Join(err, dst.Close()); err == nil {
		err = durable.SyncDir(filepath.Dir(to))
	}
	return err
}
