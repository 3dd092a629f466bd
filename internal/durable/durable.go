// Package durable makes writes survive a power cut. It is the only package of
// Signet that calls fsync, so that what is durable, and what is not, can be
// read in one place.
//
// It promises that after a nil error the bytes, and the name they are under,
// are on the device as far as the operating system can say; a disk that lies
// about its cache is beyond it. It does not promise anything about a name
// after an error: the old or the new content, never a mixture.
//
// After any error of a Sync function the file must be written anew: kernels
// drop the pages that could not be written and report the loss only once.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrUnsupported is what SyncFS returns where the system cannot flush one file
// system: sync every file instead.
var ErrUnsupported = errors.New("not supported on this system")

// WriteFile puts data under path so that a crash at any moment leaves the old
// content or the new, never a part: temporary file beside it, sync, rename,
// sync of the folder. perm is applied exactly, whatever the umask. A crash may
// leave a file ".<name>.<random>.tmp" beside path.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	tmp := filepath.Join(dir, "."+name+"."+rand.Text()[:12]+".tmp")
	if err := writeNew(tmp, data, perm); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(dir)
}

// writeNew makes a file that must not exist and syncs it.
func writeNew(path string, data []byte, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = SyncFile(f)
	}
	return errors.Join(err, f.Close())
}

// Rename renames from to to, replacing it, and syncs the folders of both. What
// from names must have been synced before.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return SyncDir(filepath.Dir(from))
}

// Remove unlinks path and syncs its folder: afterwards the name does not come
// back.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncFile makes content and metadata of f durable (on darwin through the
// drive's cache too). f may be an open folder where the system has that.
func SyncFile(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// SyncData makes content and size of f durable, not its times or mode: enough
// for a log that is appended to.
func SyncData(f *os.File) error {
	if err := syncData(f); err != nil {
		return fmt.Errorf("sync data: %w", err)
	}
	return nil
}

// Begin has the system start to write f's content out, and does not wait: a
// later Sync finds less left to do. It makes nothing durable, reports nothing,
// and does nothing outside Linux.
func Begin(f *os.File) { begin(f) }

// SyncDir makes the names in folder dir durable. On Windows, where names are
// journalled with the rename, it does nothing.
func SyncDir(dir string) error {
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// SyncFS makes everything on the file system that holds f durable, other
// programs' writes included, and reports write errors since f was opened. It
// pays off against many calls of SyncFile. ErrUnsupported outside Linux.
func SyncFS(f *os.File) error {
	if err := syncFS(f); err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	return nil
}
